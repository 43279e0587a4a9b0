// Where this device is. The place leaves this page for nothing that is done here.

const FRESH = 10 * 60e3; // ms for which a place is taken for the present one
const PATIENCE = 15e3; // ms

// Returns { latitude, longitude }; throws what the browser says against it.
export function placeNow() {
  return new Promise((resolve, reject) => {
    if (!navigator.geolocation) return reject(new Error("?"));
    navigator.geolocation.getCurrentPosition(
      ({ coords: { latitude, longitude } }) => resolve({ latitude, longitude }),
      ({ message }) => reject(new Error(message)),
      { timeout: PATIENCE, maximumAge: FRESH },
    );
  });
}
