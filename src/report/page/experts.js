// What experts attract: the card of the chosen expert and the list of a layer's experts.
'use strict';
(() => {
  const {byId, element, percent, count, decimal, times, label, layers, expertColour} = moxie;

  const chip = (token, order) => element('li', {title: `${count(token.count)} of ${count(token.of)} occurrences · lift ${times(token.lift)}`},
      element('span', {class: 'word'}, label(token.text)), element('span', {class: 'muted'}, order === 'lift' ? times(token.lift) : count(token.count)));

  function drawExpert() {
    if (!layers.length) return;
    const {layer: l, expert: chosen} = moxie.state, layer = layers[l];
    const busiest = layer.counts.reduce((best, x, e) => (x > layer.counts[best] ? e : best), 0);
    const e = chosen ?? busiest, share = layer.assignments ? layer.counts[e] / layer.assignments : 0;
    const rank = layer.counts.filter((x) => x > layer.counts[e]).length + 1;
    const figures = [['tokens', count(layer.counts[e])], ['share', percent(share)], ['of even', times(share * layer.experts)],
                     ['rank', `${rank} of ${layer.experts}`]];
    if (layer.mass.length) figures.push(['mean weight', layer.counts[e] ? decimal(layer.mass[e] / layer.counts[e]) : '–']);
    const typical = moxie.attracted(l, e, 'lift', 8), often = moxie.attracted(l, e, 'count', 8), company = moxie.companions(l, e, 5);
    const list = (title, items) => (items.length ? [element('h4', {}, title), element('ul', {class: 'chips'}, ...items)] : []);
    byId('expert').replaceChildren(
        element('h3', {}, element('span', {class: 'swatch', style: {backgroundColor: expertColour(e)}}, String(e)),
                ` Expert ${e}, layer ${layer.layer}`),
        element('p', {class: 'muted'}, chosen === null ? 'The busiest of the layer. Choose another in any chart.' : 'Its tokens are marked in the strip.'),
        element('dl', {class: 'figures'}, ...figures.map(([name, value]) => element('div', {}, element('dt', {}, name), element('dd', {}, value)))),
        ...list('Most often', often.map((token) => chip(token, 'count'))), ...list('Most typical', typical.map((token) => chip(token, 'lift'))),
        ...list('Shares its tokens with', company.map((x) => element('li', {},
            element('button', {type: 'button', class: 'quiet swatch', 'data-e': x.expert, 'aria-label': `Expert ${x.expert}`,
                               style: {backgroundColor: expertColour(x.expert)}}, String(x.expert)),
            element('span', {class: 'muted'}, percent(x.share))))));
  }

  function drawAttracts() {
    if (!layers.length) return;
    const {layer: l, attract, expert: chosen} = moxie.state, layer = layers[l];
    byId('attracts-title').textContent = `What the experts of layer ${layer.layer} attract`;
    byId('attracts-note').textContent = attract === 'lift'
        ? 'Tokens most over-represented at each expert, from three visits on: times their frequency in the text.'
        : 'Tokens each expert received most often, and how often.';
    const ids = [...layer.counts.keys()].sort((a, b) => layer.counts[b] - layer.counts[a] || a - b);
    const most = Math.max(1, layer.counts[ids[0]]);
    byId('attracts').replaceChildren(...ids.map((e) => {
      const tokens = moxie.attracted(l, e, attract, 12);
      return element('div', {class: e === chosen ? 'entry chosen' : 'entry'},
          element('button', {type: 'button', class: 'quiet swatch', 'data-e': e, 'aria-pressed': String(e === chosen),
                             'aria-label': moxie.describeExpert(l, e), style: {backgroundColor: expertColour(e)}}, String(e)),
          element('span', {class: 'meter'}, element('span', {style: {width: `${100 * layer.counts[e] / most}%`}})),
          element('span', {class: 'number'}, percent(layer.assignments ? layer.counts[e] / layer.assignments : 0)),
          tokens.length ? element('ul', {class: 'chips'}, ...tokens.map((token) => chip(token, attract)))
                        : element('span', {class: 'muted'}, layer.counts[e] ? 'nothing often enough' : 'no token'));
    }));
  }

  for (const id of ['expert', 'attracts']) {
    byId(id).addEventListener('click', (event) => {
      const {e} = event.target.dataset;
      if (e !== undefined) moxie.choose(moxie.state.layer, Number(e));
    });
  }
  Object.assign(moxie, {drawExpert, drawAttracts});
})();
