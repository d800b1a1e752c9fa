// The matrices of the run page, unpacked. Draws nothing.
'use strict';
const moxie = {};

(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  // codes[row * columns + column]: see run_matrices.cpp for what a byte means.
  for (const panel of data.panels) panel.codes = Uint8Array.from(atob(panel.bits), (c) => c.charCodeAt(0));
  Object.assign(moxie, {data});
})();
