// A TIFF file, which EXIF is one: directories of values by number (TIFF 6.0, section 2). The bytes may be anybody's: nothing
// beyond their end is read. What Pillow reads of a damaged one is read here too.

// Each type's bytes (page 15), and how a number of it is read.
const TYPES = {
  1: [1], 2: [1], 3: [2, "Uint16"], 4: [4, "Uint32"], 5: [8, "Uint32"], 6: [1, "Int8"], 7: [1], 8: [2, "Int16"],
  9: [4, "Int32"], 10: [8, "Int32"], 11: [4, "Float32"], 12: [8, "Float64"], 13: [4, "Uint32"], 16: [8, "BigUint64"],
};
const TEXT = 2;
const LONGEST = 64; // characters of a text that are looked at
const RATIONALS = [5, 10];
const WHOLE = [3, 4, 6, 8, 9, 13, 16];

// Null if it is none. Returns { start, directory(at), triple(value), whole(value), text(value) }: a directory is a map of tags
// to values, and a value, which may be undefined, is read as three numbers, as the place of a directory, or as text.
export function openTiff(bytes) {
  const prefix = /^(Exif\0\0){0,2}/.exec(String.fromCharCode(...bytes.subarray(0, 12)))[0].length;
  const view = new DataView(bytes.buffer, bytes.byteOffset + prefix, bytes.byteLength - prefix);
  if (view.byteLength < 8) return null;
  const little = view.getUint16(0) === 0x4949;
  if (!(little || view.getUint16(0) === 0x4d4d) || ![42, 42 << 8].includes(view.getUint16(2))) return null;

  // Read to where it, or what it points to, is beyond the bytes. What entries point to may take no more than all bytes.
  function directory(start) {
    const found = new Map();
    let outside = 0;
    const entries = start >= 0 && start + 2 <= view.byteLength ? view.getUint16(start, little) : 0;
    for (let entry = start + 2; entry < start + 2 + 12 * entries && entry + 12 <= view.byteLength; entry += 12) {
      const [tag, type] = [view.getUint16(entry, little), view.getUint16(entry + 2, little)];
      const size = view.getUint32(entry + 4, little) * (TYPES[type]?.[0] ?? 0);
      if (!size || found.has(tag)) continue;
      if (size > 4 && (outside += size) > view.byteLength) continue;
      const at = size > 4 ? view.getUint32(entry + 8, little) : entry + 8;
      if (at + size > view.byteLength) break;
      found.set(tag, { type, at, size });
    }
    return found;
  }

  const count = ({ type, size }) => size / TYPES[type][0];
  const read = (kind, at) => Number(view[`get${kind}`](at, little));

  // NaN where it is none.
  function number({ type, at }, index) {
    const [each, kind] = TYPES[type];
    const from = at + index * each;
    if (RATIONALS.includes(type)) return read(kind, from) / read(kind, from + 4);
    return kind ? read(kind, from) : NaN;
  }

  const latin = (at, size) => String.fromCharCode(...bytes.subarray(at, at + size));

  return {
    start: view.getUint32(4, little),
    directory,
    triple: (value) => value && count(value) === 3 ? [0, 1, 2].map((index) => number(value, index)) : [NaN, NaN, NaN],
    whole: (value) => WHOLE.includes(value?.type) ? number(value, 0) : -1,
    text: (value) => value?.type === TEXT ? latin(prefix + value.at, Math.min(value.size, LONGEST)) : "",
  };
}
