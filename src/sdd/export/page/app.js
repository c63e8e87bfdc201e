// Edits a picture in this browser. editor.json says what there is; open.onnx runs once a picture, draw.onnx whenever a
// slider moves. WebGPU where there is one, else WebAssembly.

const RUNTIME = new URL('./runtime/', import.meta.url).href;
const element = (id) => document.getElementById(id);
const say = (text) => { element('status').textContent = text; };

let about, ort, provider, opening, drawing;
let picture = null; // what is edited: {tensor, opened}
let strengths = [];
let running = false, again = false;
const times = { open: 0, draw: 0 }; // ms of the last run

async function start() {
  about = await (await fetch('editor.json')).json();
  const wanted = new URLSearchParams(location.search).get('provider');
  const adapter = wanted === 'wasm' ? null : await navigator.gpu?.requestAdapter().catch(() => null);
  const attempts = adapter ? ['webgpu', 'wasm'] : ['wasm'];
  const models = await Promise.all(['open.onnx', 'draw.onnx'].map(async (name) => {
    const answer = await fetch(name);
    if (!answer.ok) throw new Error(`${name}: ${answer.status}`);
    return new Uint8Array(await answer.arrayBuffer());
  }));
  for (const attempt of attempts) {
    try {
      ort = await import(`${RUNTIME}ort.${attempt}.min.mjs`);
      ort.env.wasm.wasmPaths = RUNTIME;
      if (!self.crossOriginIsolated) ort.env.wasm.numThreads = 1; // threads need headers that a static server may lack
      const options = { executionProviders: [attempt] };
      opening = await ort.InferenceSession.create(models[0], options);
      drawing = await ort.InferenceSession.create(models[1], options);
      provider = attempt;
      break;
    } catch (error) {
      if (attempt === attempts.at(-1)) throw error;
    }
  }
  show();
  await take(await (await fetch('sample.png')).blob());
}

function show() {
  const size = about.image_size;
  document.title = element('title').textContent = about.prompts.filter(Boolean).join(', ') || 'Edit pictures here';
  for (const id of ['before', 'after']) Object.assign(element(id), { width: size, height: size });
  about.prompts.forEach((prompt, index) => {
    const row = document.createElement('div'), label = document.createElement('label');
    const slider = document.createElement('input'), number = document.createElement('output');
    row.className = 'slider';
    label.textContent = prompt || `editor ${index + 1}`;
    label.htmlFor = slider.id = `strength-${index}`;
    Object.assign(slider, { type: 'range', min: -1, max: 2, step: 0.05, value: 1 });
    strengths[index] = 1;
    number.textContent = '1.00';
    slider.addEventListener('input', () => {
      strengths[index] = Number(slider.value);
      number.textContent = strengths[index].toFixed(2);
      edit();
    });
    row.append(label, slider, number);
    element('sliders').append(row);
  });
  for (const note of about.notes) {
    const item = document.createElement('li');
    item.textContent = note;
    element('notes').append(item);
  }
  element('file').disabled = false;
}

// The picture as a square of the editor's size, what is missing white, as (1, 3, S, S) in [-1, 1].
async function take(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    return say('That is no picture this browser can read; choose a PNG or a JPEG.');
  }
  const size = about.image_size, context = element('before').getContext('2d', { willReadFrequently: true });
  context.fillStyle = 'white';
  context.fillRect(0, 0, size, size);
  context.imageSmoothingQuality = 'high';
  const scale = size / Math.max(bitmap.width, bitmap.height);
  const [width, height] = [bitmap.width * scale, bitmap.height * scale];
  context.drawImage(bitmap, (size - width) / 2, (size - height) / 2, width, height);
  const { data } = context.getImageData(0, 0, size, size), plane = size * size;
  const values = new Float32Array(3 * plane);
  for (let i = 0; i < plane; i++) for (let c = 0; c < 3; c++) values[c * plane + i] = data[4 * i + c] / 127.5 - 1;
  picture = { tensor: new ort.Tensor('float32', values, [1, 3, size, size]), opened: null };
  await edit();
}

// One edit at a time; what changes meanwhile is edited next.
async function edit() {
  if (!picture) return;
  if (running) { again = true; return; }
  running = true;
  try {
    do {
      again = false;
      await editOnce(picture);
    } while (again);
  } catch (error) {
    say(`The edit failed (${error.message}).`);
  } finally {
    running = false;
  }
}

async function editOnce(mine) {
  if (!mine.opened) {
    const begun = performance.now();
    mine.opened = await opening.run({ picture: mine.tensor });
    times.open = performance.now() - begun;
  }
  const strength = new ort.Tensor('float32', Float32Array.from(strengths), [1, strengths.length]);
  const begun = performance.now();
  const given = {};
  for (const name of drawing.inputNames) given[name] = { picture: mine.tensor, strength, ...mine.opened }[name];
  const { edited } = await drawing.run(given);
  times.draw = performance.now() - begun;
  const size = about.image_size, plane = size * size, image = new ImageData(size, size);
  for (let i = 0; i < plane; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = Math.round((edited.data[c * plane + i] + 1) * 127.5);
    image.data[4 * i + 3] = 255;
  }
  element('after').getContext('2d').putImageData(image, 0, 0);
  element('save').disabled = false;
  document.body.dataset.edits = Number(document.body.dataset.edits || 0) + 1;
  Object.assign(document.body.dataset, { provider, open: times.open.toFixed(1), draw: times.draw.toFixed(1) });
  say(`Edited in ${times.draw.toFixed(0)} ms here (${provider === 'webgpu' ? 'WebGPU' : 'WebAssembly'}); opening the picture took ${times.open.toFixed(0)} ms.`);
}

element('file').addEventListener('change', ({ target }) => { if (target.files[0]) take(target.files[0]); });
element('save').addEventListener('click', () => element('after').toBlob((blob) => {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = 'edited.png';
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}));
start().catch((error) => say(`The editor could not be loaded (${error.message}); serve this folder over HTTP, for instance with: python -m http.server`));
