"use strict";
// What a figure says where one points at it: the lines of the mark with `data-tip` that is nearest along an
// axis, or, along both, of the one under the pointer. Arrow keys go through the marks. Lines are set as
// text, never as HTML.
(() => {
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.setAttribute("role", "status");
  tip.hidden = true;
  document.body.append(tip);
  let shown = null;

  const hide = () => {
    shown?.classList.remove("on");
    shown = null;
    tip.hidden = true;
  };

  const show = (mark, x, y) => {
    if (mark !== shown) {
      hide();
      shown = mark;
      mark.classList.add("on");
      tip.replaceChildren(...mark.dataset.tip.split("\n").map((line) => {
        const told = document.createElement("p");
        told.textContent = line;
        return told;
      }));
      tip.hidden = false;
    }
    const { width, height } = tip.getBoundingClientRect();
    const right = x + 14 + width < document.documentElement.clientWidth;
    tip.style.left = `${Math.max(4, right ? x + 14 : x - 14 - width)}px`;
    tip.style.top = `${Math.max(4, Math.min(y + 14, innerHeight - height - 4))}px`;
  };

  const distance = (mark, along, at) => {
    const box = mark.getBoundingClientRect();
    const [low, high] = along === "y" ? [box.top, box.bottom] : [box.left, box.right];
    return Math.max(low - at, at - high, 0);
  };

  for (const plot of document.querySelectorAll("svg[data-along]")) {
    const marks = [...plot.querySelectorAll("[data-tip]")], { along } = plot.dataset;
    if (!marks.length) continue;
    const point = (event) => {
      const at = along === "y" ? event.clientY : event.clientX;
      const found = along === "both" ? event.target.closest("[data-tip]") : marks.reduce(
        (a, b) => (distance(b, along, at) < distance(a, along, at) ? b : a));
      if (found) show(found, event.clientX, event.clientY);
      else hide();
    };
    plot.addEventListener("pointermove", point);
    plot.addEventListener("pointerdown", point);
    plot.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse") hide(); // a finger has left when it is lifted
    });
    plot.addEventListener("blur", hide);
    plot.tabIndex = 0;
    plot.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
      if (event.key === "Escape") hide();
      if (!step) return;
      event.preventDefault();
      const at = marks.indexOf(shown);
      const next = marks[at < 0 ? 0 : Math.max(0, Math.min(marks.length - 1, at + step))];
      const box = next.getBoundingClientRect();
      show(next, (box.left + box.right) / 2, (box.top + box.bottom) / 2);
    });
  }
  addEventListener("scroll", hide, { passive: true });
  addEventListener("pointerdown", (event) => {
    if (!event.target.closest("svg[data-along]")) hide();
  });
})();
