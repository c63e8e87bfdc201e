const input = element.querySelector("input"), label = element.querySelector("label");

function send(file) {
  if (!file) return;
  if (file.size > MAX_BYTES) { trigger("upload", { name: file.name, bytes: file.size }); return; }
  const reader = new FileReader();
  reader.onload = () => trigger("upload", { name: file.name, data: reader.result });
  reader.readAsDataURL(file);
}

input.addEventListener("change", () => { send(input.files[0]); input.value = ""; });
const open = () => element.offsetParent !== null; // only while its tab is to be seen
document.addEventListener("dragover", (event) => { if (open()) { event.preventDefault(); label.classList.add("over"); } });
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) label.classList.remove("over"); });
document.addEventListener("drop", (event) => {
  if (!open()) return;
  event.preventDefault();
  label.classList.remove("over");
  send(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => { if (open()) send(event.clipboardData.files[0]); });
