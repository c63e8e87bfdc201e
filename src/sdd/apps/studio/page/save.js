watch("value", () => {
  const value = JSON.parse(props.value || "{}");
  if (!value.data) return;
  const bytes = Uint8Array.from(atob(value.data), (c) => c.charCodeAt(0));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([bytes], { type: "image/png" }));
  link.download = value.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
});
