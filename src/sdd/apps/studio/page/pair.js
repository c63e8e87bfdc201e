const frame = element.querySelector(".pair"), divider = element.querySelector("input");
const before = element.querySelector(".before"), after = element.querySelector(".after");

function draw() {
  const value = JSON.parse(props.value || "{}");
  frame.classList.toggle("empty", !value.before);
  if (!value.before) return;
  if (before.src !== value.before) before.src = value.before;
  after.src = value.after;
}

function divide() { frame.style.setProperty("--at", divider.value + "%"); }

before.addEventListener("load", () => { frame.style.aspectRatio = `${before.naturalWidth} / ${before.naturalHeight}`; });
divider.addEventListener("input", divide);
watch("value", draw);
draw();
divide();
