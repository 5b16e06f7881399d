'use strict';
const told = JSON.parse(document.getElementById('told').textContent);
const view = document.getElementById('view'), bar = document.getElementById('bar'), views = document.getElementById('views');
const wide = window.matchMedia('(min-width: 56.01rem)');
const last = told.checkpoints.length - 1;
// What is shown: a layer with one of its units, or an image under the square or on its way; all of it but `kind` stands in the address.
const now = { view: '', layer: 0, unit: null, checkpoint: last, image: 0, kind: '' };
let redraws = [], spot = null;

const make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
};
const number = (value) => (value === null ? 'not a number' : Number(value.toPrecision(3)).toLocaleString('en', { maximumSignificantDigits: 3 }));
const percent = (value) => `${(100 * value).toFixed(1)} %`;
const checkpoint = (place) => {
  const { epoch, step } = told.checkpoints[place];
  return epoch === null ? `step ${step}` : `epoch ${epoch}`;
};

// Pictures are cut from sprites, each of which is loaded once, when it is first shown.
const sheets = new Map();
const sheet = (file) => {
  if (!sheets.has(file)) {
    sheets.set(file, new Promise((loaded, failed) => {
      const picture = new Image();
      picture.onload = () => loaded(picture);
      picture.onerror = () => {
        view.before(make('p', { role: 'alert' }, `${file} is missing: the folder is not whole.`));
        failed(new Error(`${file} is missing`));
      };
      picture.src = file;
    }));
  }
  return sheets.get(file);
};
// box: the part of it that lies in the image, top, left, bottom, right; the rest stays empty.
const draw = async (canvas, sprite, index, box = [0, 0, sprite.height, sprite.width], after = () => {}) => {
  const wanted = `${sprite.file} ${index}`;
  canvas.dataset.wanted = wanted;
  const picture = await sheet(sprite.file);
  if (canvas.dataset.wanted !== wanted) return;
  if (canvas.width !== sprite.width || canvas.height !== sprite.height) Object.assign(canvas, { width: sprite.width, height: sprite.height });
  canvas.classList.toggle('sharp', Math.max(sprite.width, sprite.height) < 48);
  const context = canvas.getContext('2d'), [top, left, bottom, right] = box;
  const x = (index % sprite.columns) * sprite.across, y = sprite.top + Math.floor(index / sprite.columns) * sprite.down;
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (right > left && bottom > top) context.drawImage(picture, x + left, y + top, right - left, bottom - top, left, top, right - left, bottom - top);
  canvas.dataset.shown = wanted;
  after(context);
};
// One without a label stands beside words that say the same.
const blank = (sprite, label = '') => make('canvas', { width: sprite.width, height: sprite.height, role: label ? 'img' : null, ...(label ? { 'aria-label': label } : { 'aria-hidden': 'true' }) });

const layerOf = (one) => told.layers.find((layer) => layer.number === one);
const unitName = (layer, unit) => (layer.names ? layer.names[unit] : `unit ${unit}`);
const address = (layer, unit, place = now.checkpoint) =>
  `#layer${layer}${unit === null ? '' : `/unit${unit}`}${place === last ? '' : `/step${told.checkpoints[place].step}`}`;
const go = (hash) => window.location.replace(hash);

function read() {
  const hash = window.location.hash, before = now.view === 'layer' ? now.layer : null;
  const layer = /^#layer(\d+)(?:\/unit(\d+))?(?:\/step(\d+))?$/.exec(hash), image = /^#(occlusion|way)\/(\d+)$/.exec(hash);
  if (image && Number(image[2]) < told.images.names.length) {
    return { ...now, view: image[1], image: Number(image[2]), unit: null };
  }
  if (!layer || !layerOf(Number(layer[1]))) return { ...now, view: 'layer', layer: before ?? told.layers[0].number, unit: null };
  const place = layer[3] === undefined ? last : told.checkpoints.findIndex((one) => one.step === Number(layer[3]));
  return { ...now, view: 'layer', layer: Number(layer[1]), unit: layer[2] === undefined ? null : Number(layer[2]), checkpoint: place < 0 ? last : place };
}

function show() {
  const wanted = read();
  const same = view.childElementCount && wanted.view === now.view && wanted.layer === now.layer && wanted.image === now.image;
  const unit = same && wanted.unit === now.unit, left = now.unit;
  Object.assign(now, wanted);
  if (!same) {
    spot = null;
    redraws = [];
    navigation();
    view.replaceChildren(...(now.view === 'layer' ? [layerView()] : [images(), now.view === 'way' ? wayView() : board()]));
  } else if (!unit) {
    unitChosen();
    if (now.unit === null) view.querySelector(`.grid a[data-unit="${left}"]`)?.focus();
  }
  redraws.forEach((redraw) => redraw());
}

function navigation() {
  const entries = [
    ...told.layers.map((layer) => [address(layer.number, null), `Layer ${layer.number}`, now.view === 'layer' && layer.number === now.layer]),
    [`#occlusion/${now.image}`, 'Under a square', now.view === 'occlusion'],
    [`#way/${now.image}`, 'Through the stages', now.view === 'way'],
  ];
  views.replaceChildren(...entries.map(([href, text, current]) => make('a', { href, 'aria-current': current && 'page' }, text)));
  views.querySelector('[aria-current]').scrollIntoView({ block: 'nearest', inline: 'nearest' });
  bar.replaceChildren(...(now.view === 'layer' ? tools() : []));
}

function tools() {
  const layer = layerOf(now.layer), kinds = ['filter', 'patch', 'projection'].filter((kind) => layer.overviews[kind]);
  if (!kinds.includes(now.kind)) [now.kind] = kinds;
  const said = make('output', { id: 'when' });
  const slider = make('input', { type: 'range', min: 0, max: last, step: 1, id: 'slider', 'aria-label': 'checkpoint',
    oninput: () => go(address(now.layer, now.unit, Number(slider.value))) });
  redraws.push(() => {
    slider.value = now.checkpoint;
    said.textContent = checkpoint(now.checkpoint);
    slider.setAttribute('aria-valuetext', said.textContent);
    for (const link of views.querySelectorAll('a[href^="#layer"]')) link.href = address(Number(/\d+/.exec(link.hash)[0]), null);
  });
  const words = { filter: 'filters', patch: 'patches', projection: 'projections' };
  const choices = kinds.map((kind) => make('label', {}, make('input', { type: 'radio', name: 'kind', value: kind, checked: kind === now.kind,
    onchange: () => { now.kind = kind; redraws.forEach((redraw) => redraw()); } }), words[kind]));
  return [
    last ? make('label', {}, 'Checkpoint', slider, said) : make('span', { class: 'quiet' }, told.checkpoints[0].step ? 'One checkpoint: train with checkpoint.marks for a slider.' : 'Published weights'),
    make('fieldset', { 'aria-label': 'pictures of the units' }, ...choices),
  ];
}

function layerView() {
  const layer = layerOf(now.layer), count = layer.units.length;
  const grid = make('div', { class: count > 36 ? 'grid' : 'few grid', role: 'group', 'aria-label': `units of layer ${layer.number}`, onkeydown: moved });
  layer.units.forEach((unit, place) => {
    const name = unitName(layer, unit.number), canvas = blank(layer.overviews.patch);
    const link = make('a', { href: '#', 'data-unit': unit.number, 'aria-label': layer.names ? `unit ${unit.number}, ${name}` : name }, canvas,
      layer.names ? name : String(unit.number));
    redraws.push(() => {
      const kind = layer.overviews[now.kind];
      draw(canvas, kind, now.checkpoint * count + place, now.kind === 'filter' ? undefined : unit.winners[now.checkpoint][0].box);
      link.setAttribute('href', address(layer.number, unit.number));
    });
    grid.append(link);
  });
  const few = count < layer.size ? ` Shown are ${count} of ${layer.size}: those whose nine strongest activations are the largest in the mean.` : '';
  const whole = make('div', { class: 'layer' }, make('p', {}, `${layer.words}.${few}`), grid, make('section', { class: 'unit' }));
  queueMicrotask(unitChosen);
  return whole;
}

// The unit in the address or, where there is room beside the grid, the first one.
function unitChosen() {
  const layer = layerOf(now.layer), panel = view.querySelector('.unit'), held = panel.contains(document.activeElement);
  const chosen = now.unit ?? (wide.matches ? layer.units[0].number : null), place = layer.units.findIndex((unit) => unit.number === chosen);
  for (const link of view.querySelectorAll('.grid a')) {
    if (Number(link.dataset.unit) === chosen) link.setAttribute('aria-current', 'true');
    else link.removeAttribute('aria-current');
    link.tabIndex = Number(link.dataset.unit) === (place < 0 ? layer.units[0].number : chosen) ? 0 : -1;
  }
  view.querySelector('.layer').classList.toggle('open', now.unit !== null);
  redraws = redraws.filter((redraw) => !redraw.ofUnit);
  if (chosen === null) panel.replaceChildren();
  else if (place < 0) panel.replaceChildren(make('p', {}, `Unit ${chosen} of layer ${layer.number} is not among the ${layer.units.length} that are shown. `,
    make('a', { href: address(layer.number, null) }, 'All that are')));
  else panel.replaceChildren(...unitView(layer, place));
  redraws.filter((redraw) => redraw.ofUnit).forEach((redraw) => redraw());
  if (now.unit !== null && (held || !wide.matches)) {
    panel.querySelector('h2')?.focus({ preventScroll: true });
    if (!wide.matches) window.scrollTo(0, Math.min(window.scrollY, view.offsetTop - bar.offsetHeight));
  }
}

function unitView(layer, place) {
  const unit = layer.units[place], sprite = { ...layer.tile, file: unit.file }, summary = make('p', { class: 'summary', 'aria-live': 'polite' });
  const filter = layer.overviews.filter ? blank(layer.overviews.filter, 'its filter') : null;
  const step = (to, text) => (to ? make('a', { href: '#', 'data-to': to.number }, text) : null);
  const steps = make('p', { class: 'steps' }, make('a', { href: '#', class: 'all', 'data-to': '' }, `All of layer ${layer.number}`),
    step(layer.units[place - 1], '‹ before'), step(layer.units[place + 1], 'next ›'));
  const nine = make('ol', { class: 'nine' });
  const cells = unit.winners[0].map((_, rank) => {
    const patch = blank(sprite, 'patch'), projection = blank(sprite, 'its projection'), name = make('b'), fresh = make('span', { class: 'new' }), value = make('span');
    nine.append(make('li', { class: 'pair' }, make('div', {}, patch, projection), name, ' ', fresh, make('br'), value));
    return { rank, patch, projection, name, fresh, value };
  });
  const redraw = () => {
    const winners = unit.winners[now.checkpoint], before = now.checkpoint ? unit.winners[now.checkpoint - 1].map((one) => one.image) : null;
    if (filter) draw(filter, layer.overviews.filter, now.checkpoint * layer.units.length + place);
    for (const link of steps.children) link.href = address(layer.number, link.dataset.to === '' ? null : Number(link.dataset.to));
    const counts = new Map();
    for (const one of winners.filter((other) => other.image >= 0)) counts.set(one.class, (counts.get(one.class) ?? 0) + 1);
    const classes = [...counts].sort((one, other) => other[1] - one[1]).map(([label, count], place) => `${count} of ${place ? '' : 'the nine are of class '}${told.classes[label]}`);
    const silent = winners.every((one) => one.value === null || one.value === 0);
    const when = told.checkpoints[now.checkpoint].step ? `At ${checkpoint(now.checkpoint)}: ` : ''; // published weights have no step
    summary.textContent = when + (silent ? 'no image excites it.' : `${classes.join(', ')}.`);
    for (const { rank, patch, projection, name, fresh, value } of cells) {
      const { value: activation, image, class: label, box } = winners[rank], index = 2 * (now.checkpoint * winners.length + rank);
      const text = image < 0 ? 'no image' : told.classes[label];
      draw(patch, sprite, index, box);
      draw(projection, sprite, index + 1, box);
      patch.setAttribute('aria-label', `patch ${rank + 1}: ${text}, image ${image}`);
      name.textContent = text;
      fresh.textContent = before && image >= 0 && !before.includes(image) ? 'new' : '';
      fresh.title = before ? `not among the nine at ${checkpoint(now.checkpoint - 1)}` : '';
      value.textContent = image < 0 ? '' : `${number(activation)} · image ${image}`;
    }
  };
  redraw.ofUnit = true;
  redraws.push(redraw);
  const named = layer.names ? `, ${layer.names[unit.number]}` : '';
  return [make('div', { class: 'head' }, make('div', {}, make('h2', { tabindex: -1 }, `Layer ${layer.number}, unit ${unit.number}${named}`), summary, steps), filter ?? ''),
    nine];
}

// Arrows in the grid, where as many units stand in a row as fit.
function moved(event) {
  const links = [...view.querySelectorAll('.grid a')], at = links.indexOf(document.activeElement);
  const columns = links.filter((link) => link.offsetTop === links[0].offsetTop).length;
  const way = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, Home: -at, End: links.length - 1 - at }[event.key];
  if (way === undefined || at < 0 || !links[at + way]) return;
  event.preventDefault();
  links.forEach((link) => { link.tabIndex = -1; });
  links[at + way].tabIndex = 0;
  links[at + way].focus();
}

document.addEventListener('keydown', (event) => {
  if (now.view !== 'layer' || event.target.matches?.('input, .grid a') && event.key !== 'Escape') return;
  if (event.key === 'Escape' && now.unit !== null) {
    go(address(now.layer, null));
  } else if (event.key === 'ArrowLeft' || event.key === 'ArrowRight') {
    const units = layerOf(now.layer).units, at = units.findIndex((unit) => unit.number === now.unit);
    const to = now.unit === null ? undefined : units[at + (event.key === 'ArrowLeft' ? -1 : 1)];
    if (to) go(address(now.layer, to.number));
  }
});

function images() {
  const list = make('nav', { class: 'images', 'aria-label': 'Images' });
  told.images.names.forEach((name, place) => {
    const canvas = blank(told.images.sprite);
    draw(canvas, told.images.sprite, place);
    list.append(make('a', { href: `#${now.view}/${place}`, 'aria-current': place === now.image && 'true' }, canvas, name));
  });
  return list;
}

const SHADES = [[68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141], [39, 173, 129], [92, 200, 99], [170, 220, 50], [253, 231, 37]];
const CHIPS = ['#4477aa', '#ee6677', '#228833', '#ccbb44', '#66ccee', '#aa3377', '#bbbbbb', '#ee7733', '#004488', '#117733'];
const shade = (share) => {
  const at = Math.min(Math.max(share, 0), 1) * (SHADES.length - 1), low = Math.min(Math.floor(at), SHADES.length - 2);
  return SHADES[low].map((value, channel) => Math.round(value + (at - low) * (SHADES[low + 1][channel] - value)));
};

// The square: where the pointer is, the arrows lead or, at first, where the probability is lowest.
function board() {
  const under = told.occlusion, image = under.images[now.image], { rows, columns } = under, [activation, probability, predicted] = image.clean;
  const name = (label) => told.outputs[label], spread = (grid) => [Math.min(...grid.flat()), Math.max(...grid.flat())];
  const [low, high] = spread(image.probability), [least, most] = spread(image.activation), sprite = told.images.sprite;
  const often = [...new Set(image.predicted.flat())].map((label) => [label, image.predicted.flat().filter((other) => other === label).length]);
  often.sort((one, other) => other[1] - one[1]);
  const chip = new Map(often.map(([label], place) => [label, CHIPS[place % CHIPS.length]]));
  const rgb = (text) => [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));
  const scaled = (value, from, to) => (to > from ? (value - from) / (to - from) : 0.5);
  const map = (colour) => {
    const canvas = make('canvas', { width: columns.length, height: rows.length, class: 'sharp' });
    const context = canvas.getContext('2d'), pixels = context.createImageData(columns.length, rows.length);
    rows.forEach((_, row) => columns.forEach((__, column) => {
      pixels.data.set([...colour(row, column), 255], 4 * (row * columns.length + column));
    }));
    context.putImageData(pixels, 0, 0);
    return canvas;
  };
  const clean = blank(sprite), marks = [];
  const field = (canvas, title, words) => {
    const mark = make('i', { hidden: true });
    marks.push(mark);
    const box = make('div', { class: 'field' }, canvas, mark);
    const point = (event) => {
      const inside = canvas.getBoundingClientRect();
      const at = (share, all) => Math.min(all.length - 1, Math.max(0, Math.floor(share * all.length)));
      move([at((event.clientY - inside.top) / inside.height, rows), at((event.clientX - inside.left) / inside.width, columns)]);
    };
    box.addEventListener('pointermove', point);
    box.addEventListener('pointerdown', point);
    return make('figure', {}, box, make('figcaption', {}, make('b', {}, title), make('br'), words));
  };
  const chips = make('span', { class: 'chips' });
  for (const [label] of often.slice(0, 6)) {
    const one = make('span', {}, name(label));
    one.style.setProperty('--chip', chip.get(label));
    chips.append(one);
  }
  if (often.length > 6) chips.append(`and ${often.length - 6} more`);
  const fields = make('div', { class: 'maps', tabindex: 0, role: 'group', 'aria-label': 'The square: arrows move it, Escape takes it away' },
    field(clean, told.images.names[now.image], `a square of ${under.size} px follows the pointer`),
    field(map((row, column) => shade(scaled(image.probability[row][column], low, high))), `p(${name(image.true)})`, `from ${percent(low)}, dark, to ${percent(high)}`),
    field(map((row, column) => shade(scaled(image.activation[row][column], least, most))), `map ${image.map} of ${under.tap}`, `summed activation from ${number(least)}, dark, to ${number(most)}`),
    field(map((row, column) => rgb(chip.get(image.predicted[row][column]))), 'most probable class', chips));
  const values = ['p', 'activation', 'class'].map(() => [make('dt'), make('dd')]);
  const list = make('dl', { class: 'values', 'aria-live': 'polite', id: 'values' }, ...values.map((pair) => make('div', {}, ...pair)));
  const where = make('p', { id: 'where' });
  const move = (to) => {
    spot = to;
    const at = to === null ? [activation, probability, predicted]
      : [image.activation[to[0]][to[1]], image.probability[to[0]][to[1]], image.predicted[to[0]][to[1]]];
    where.textContent = to === null ? 'Without the square.' : `The square's middle is at row ${rows[to[0]]}, column ${columns[to[1]]}.`;
    const texts = [
      [`p(${name(image.true)}), ${told.truth}`, percent(at[1]), `${percent(probability)} without it`],
      [`map ${image.map} of ${under.tap}`, number(at[0]), `${number(activation)} without it`],
      ['most probable class', name(at[2]), `${name(predicted)} without it`],
    ];
    values.forEach(([term, value], place) => {
      term.textContent = texts[place][0];
      value.replaceChildren(texts[place][1], ' ', make('small', {}, texts[place][2]));
    });
    marks.forEach((mark) => {
      mark.hidden = to === null;
      if (to) Object.assign(mark.style, { top: `${(100 * (to[0] + 0.5)) / rows.length}%`, left: `${(100 * (to[1] + 0.5)) / columns.length}%` });
    });
    draw(clean, sprite, now.image, undefined, (context) => {
      context.fillStyle = '#808080';
      const half = Math.floor(under.size / 2);
      if (spot) context.fillRect(columns[spot[1]] - half, rows[spot[0]] - half, under.size, under.size);
    });
  };
  fields.addEventListener('keydown', (event) => {
    const way = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (event.key === 'Escape') return move(null);
    if (!way) return undefined;
    event.preventDefault();
    const clamp = (value, all) => Math.min(all.length - 1, Math.max(0, value)), from = spot ?? [rows.length >> 1, columns.length >> 1];
    return move([clamp(from[0] + way[0], rows), clamp(from[1] + way[1], columns)]);
  });
  const lowest = image.probability.flat().indexOf(low);
  move([Math.floor(lowest / columns.length), lowest % columns.length]);
  return make('div', { class: 'board' }, make('h2', {}, `Image ${told.images.names[now.image]}`), where, list, fields);
}

function wayView() {
  const way = told.ways[now.image], picture = blank(told.images.sprite, told.images.names[now.image]), says = make('dl', { class: 'says' });
  draw(picture, told.images.sprite, now.image);
  for (const [label, probability] of way.says) {
    const strip = make('i');
    strip.style.width = `${100 * probability}%`;
    says.append(make('dt', {}, told.outputs[label]), make('span', { class: 'strip', 'aria-hidden': 'true' }, strip), make('dd', {}, percent(probability)));
  }
  const linked = (layer, unit, text) => (layerOf(layer)?.units.some((one) => one.number === unit)
    ? make('a', { href: address(layer, unit, last) }, text) : make('span', {}, text));
  const layers = way.layers.map((layer) => {
    const section = make('section', {}, make('h3', {}, `Layer ${layer.number}`)), names = layerOf(layer.number)?.names;
    if (layer.units) {
      section.append(make('div', { class: 'strongest' }, ...layer.units.map(([unit, value]) =>
        make('span', {}, linked(layer.number, unit, names ? names[unit] : `unit ${unit}`), ` ${number(value)}`))));
      return section;
    }
    for (const stage of layer.stages) {
      section.append(make('div', { class: 'stage' }, make('b', {}, stage.name), ...layer.maps.map((map, place) => {
        const canvas = blank(stage, `map ${map} after ${stage.name}`);
        draw(canvas, stage, place);
        return canvas;
      })));
    }
    section.append(make('div', { class: 'stage' }, make('b', {}, 'unit'), ...layer.maps.map((map) => linked(layer.number, map, String(map)))));
    return section;
  });
  return make('div', { class: 'way' }, make('h2', {}, `Image ${told.images.names[now.image]}`),
    make('p', {}, 'Of each layer the maps with the largest sums, after each of its stages, each by its own largest value; zero is black or, where a stage leaves negative values, mid-grey.'),
    make('div', { class: 'top' }, picture, says), ...layers);
}

window.addEventListener('hashchange', show);
wide.addEventListener('change', () => { if (now.view === 'layer') unitChosen(); });
show();
