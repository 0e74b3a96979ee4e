// A citation mark in an answer leads to its passage, "Copy" takes the answer as plain text, a page can fill the window.
(() => {
  if (window.emendoReady) return; // Gradio puts the head into the page twice
  window.emendoReady = true;
  const show = (mark) => {
    const card = document.getElementById(`source-${mark.textContent}`);
    if (!card) return;
    card.closest("details")?.setAttribute("open", "");
    card.scrollIntoView({ behavior: "smooth", block: "nearest" });
    card.classList.remove("flash");
    void card.offsetWidth; // restarts the animation when the same mark is chosen twice
    card.classList.add("flash");
  };
  const copy = async (button) => {
    const answer = button.closest(".answer").querySelector(".answer-text");
    await navigator.clipboard.writeText(answer.innerText);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  };
  const act = (event) => {
    const mark = event.target.closest?.(".cite");
    const button = event.target.closest?.(".copy-answer");
    if (mark) { event.preventDefault(); event.stopPropagation(); show(mark); }
    if (button) { event.preventDefault(); event.stopPropagation(); copy(button); }
  };
  // A page fills the window until it is made smaller or closed.
  const resize = (event) => {
    const view = document.getElementById("page-view");
    const large = event.target.closest?.("#page-view .enlarge, #page-view:not(.large) img");
    const small = event.key === "Escape" || event.target.closest?.("#page-view .shrink, #page-view [data-hit='-1']");
    if (!large && !(small && view?.matches(".large"))) return;
    view.classList.toggle("large", Boolean(large));
    view.querySelector(large ? ".shrink" : ".enlarge")?.focus();
    const image = view.querySelector("img");
    if (large && image) { // what is marked stands a third down the window
      const page = image.getBoundingClientRect();
      view.scrollTop += page.top + image.dataset.top * page.height - view.clientHeight / 3;
    }
  };
  // A long passage opens at its quoted sentence.
  const openAtQuote = () => document.querySelectorAll(".passage:not(.opened)").forEach((passage) => {
    passage.classList.add("opened");
    const quote = passage.querySelector("mark");
    if (quote) passage.scrollTop = quote.offsetTop - passage.offsetTop - 48;
  });
  // What scrolls can be scrolled by keyboard.
  const reachScrollers = () => document.querySelectorAll(".passage:not([tabindex]), .table:not([tabindex])").forEach((box) => {
    if (box.scrollHeight > box.clientHeight || box.scrollWidth > box.clientWidth) box.tabIndex = 0;
  });
  // Gradio labels a message with its raw content, markup and all; without that label a screen reader reads the text itself.
  const unlabel = () => document.querySelectorAll('[data-testid="bot"][aria-label]').forEach((m) => m.removeAttribute("aria-label"));
  // Gradio's notices are a button that holds a button, which a screen reader cannot tell apart; the inner one closes the notice.
  const plain = () => document.querySelectorAll('.toast-header[role="button"]').forEach((head) => {
    head.removeAttribute("role");
    head.removeAttribute("tabindex");
  });
  const watch = new MutationObserver(() => { openAtQuote(); reachScrollers(); unlabel(); plain(); });
  watch.observe(document, { subtree: true, childList: true, attributeFilter: ["aria-label"] });
  document.addEventListener("toggle", reachScrollers, true);
  document.addEventListener("click", act, true);
  document.addEventListener("click", resize);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") act(event);
    if (event.key === "Escape") resize(event);
  }, true);
})();
