// Sliders and views of the cards beneath `root`.
function wireCards(root) {
  for (const input of root.querySelectorAll(".stack input")) {
    const move = () => input.parentElement.style.setProperty("--cut", input.value + "%");
    input.addEventListener("input", move);
    move();
  }
  for (const card of root.querySelectorAll(".card")) {
    const buttons = [...card.querySelectorAll(".views button")];
    const show = button => {
      buttons.forEach(other => other.setAttribute("aria-pressed", other === button));
      card.querySelectorAll(".view").forEach(view => view.classList.toggle("shown", view.dataset.view === button.dataset.view));
    };
    buttons.forEach(button => button.addEventListener("click", () => show(button)));
    if (buttons.length) show(buttons[0]);
  }
}
