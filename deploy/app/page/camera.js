// The camera: frames while nothing else is done, and the likeliest names smoothed over them.

import { pixelsOf } from "./decode.js";

const SMOOTH = 0.7; // share of what was known before each frame
const TEST_EVERY = 500; // frames

// Returns { stop(), picture() }. From then on each(probabilities, square, side) is called after every frame, failed() when the
// model's answers are wrong.
export async function watch(video, model, squareOf, { each, failed }) {
  const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1280 } }, audio: false });
  video.srcObject = stream;
  await video.play();
  let going = true;
  let known = null;
  let frames = 0;

  async function frame() {
    if (!going) return;
    if (video.videoWidth) {
      const { data, width, height } = pixelsOf(video, video.videoWidth, video.videoHeight);
      const square = squareOf(data, width, height, 4);
      const answer = await model.classify(square);
      known = known ? known.map((share, index) => SMOOTH * share + (1 - SMOOTH) * answer[index]) : Float32Array.from(answer);
      if (going) each(known, square, Math.min(width, height));
      if (++frames % TEST_EVERY === 0 && !await model.test()) {
        stop();
        return failed();
      }
    }
    if (going) next();
  }

  // A frame that comes while one is computed is skipped: the next one asked for is the newest.
  function next() {
    video.requestVideoFrameCallback ? video.requestVideoFrameCallback(frame) : requestAnimationFrame(frame);
  }

  function stop() {
    going = false;
    for (const track of stream.getTracks()) track.stop();
    video.srcObject = null;
  }

  next();
  return { stop, picture: () => pixelsOf(video, video.videoWidth, video.videoHeight) };
}
