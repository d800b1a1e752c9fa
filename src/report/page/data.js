// The trace as the page's other scripts read it: unpacks the embedded data and counts what experts attract. Draws nothing.
'use strict';
const moxie = {};

(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const text = data.tokens.index.map((v) => data.tokens.vocabulary[v][1]);
  for (const [position, shown] of data.tokens.differs) text[position] = shown;
  const numTokens = text.length;

  // Fields of `widths` bits each, most significant first.
  function unpack(base64) {
    const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    let at = 0, held = 0, numHeld = 0;
    return (width) => {
      while (numHeld < width) {
        held = (held * 256) + (bytes[at++] || 0);  // not <<: up to 31 + 8 bits
        numHeld += 8;
      }
      const rest = 2 ** (numHeld - width), value = Math.floor(held / rest);
      held -= value * rest;
      numHeld -= width;
      return value;
    };
  }

  // ids[t * slots + s]: expert, strongest first, -1 = dropped. weights likewise or null. margins[t], NaN = none, or null.
  function makeLayer(facts, packed) {
    const {slots, weightBits, marginBits} = packed;
    const ids = new Int32Array(numTokens * slots);
    const weights = weightBits ? new Float32Array(numTokens * slots) : null;
    const margins = marginBits ? new Float32Array(numTokens) : null;
    const next = unpack(packed.bits);
    const weightStep = (packed.weightMax - packed.weightMin) / (2 ** weightBits - 1);
    const noMargin = 2 ** marginBits - 1;
    for (let t = 0; t < numTokens; ++t) {
      if (margins) {
        const code = next(marginBits);
        margins[t] = code === noMargin ? NaN : (code / (noMargin - 1)) ** 2 * packed.marginMax;
      }
      for (let s = 0; s < slots; ++s) {
        const id = next(packed.idBits);
        ids[t * slots + s] = id === facts.experts ? -1 : id;
        if (weights) weights[t * slots + s] = packed.weightMin + next(weightBits) * weightStep;
      }
    }
    const known = margins ? Float32Array.from(margins).filter((m) => !Number.isNaN(m)).sort() : [];
    return {...facts, slots, ids, weights, margins, closeCall: known.length ? known[Math.floor(known.length / 10)] : 0};
  }

  const layers = data.layers.map((facts, i) => makeLayer(facts, data.packed[i]));
  delete data.packed;

  // Per expert of a layer: Map(vocabulary index -> visits) over the shown tokens, counted once.
  const visitsOf = new Map();
  function visits(l) {
    if (!visitsOf.has(l)) {
      const {ids, slots, experts} = layers[l];
      const maps = Array.from({length: experts}, () => new Map());
      for (let i = 0; i < ids.length; ++i) {
        if (ids[i] < 0) continue;
        const map = maps[ids[i]], v = data.tokens.index[Math.floor(i / slots)];
        map.set(v, (map.get(v) || 0) + 1);
      }
      visitsOf.set(l, maps);
    }
    return visitsOf.get(l);
  }

  const occurrences = new Int32Array(data.tokens.vocabulary.length);
  for (const v of data.tokens.index) ++occurrences[v];

  // The `n` tokens expert e of layer l attracts most, by 'count' or by 'lift' (from three visits on).
  function attracted(l, e, order, n) {
    const map = visits(l)[e];
    let visited = 0;
    for (const count of map.values()) visited += count;
    const all = [];
    for (const [v, count] of map) {
      if (order === 'lift' && count < 3) continue;
      all.push({v, text: data.tokens.vocabulary[v][1], count, of: occurrences[v],
                lift: count * numTokens / (visited * occurrences[v])});
    }
    all.sort((a, b) => (order === 'lift' ? b.lift - a.lift : 0) || b.count - a.count || a.v - b.v);
    return all.slice(0, n);
  }

  // The experts that most often share a token with expert e: [{expert, share: N_ij / N_i}].
  function companions(l, e, n) {
    const {ids, slots, experts} = layers[l];
    const together = new Int32Array(experts);
    let visited = 0;
    for (let t = 0; t < numTokens; ++t) {
      const own = ids.subarray(t * slots, (t + 1) * slots);
      if (!own.includes(e)) continue;
      ++visited;
      for (const id of own) if (id >= 0 && id !== e) ++together[id];
    }
    return [...together.keys()].filter((id) => together[id] > 0).sort((a, b) => together[b] - together[a] || a - b)
        .slice(0, n).map((expert) => ({expert, share: together[expert] / visited}));
  }

  Object.assign(moxie, {data, text, numTokens, layers, attracted, companions});
})();
