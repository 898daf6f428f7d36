// Draws every figure of the report in the page's lighting, and in the light one for the printer.
const lighting = matchMedia("(prefers-color-scheme: dark)");
const templates = JSON.parse(document.getElementById("templates").textContent);
const redraw = [];
for (const place of document.querySelectorAll(".plot")) {
  const figure = JSON.parse(place.querySelector("script").textContent);
  place.replaceChildren();
  redraw.push((shade) => {
    const layout = { ...structuredClone(figure.layout), template: templates[shade] };
    return Plotly.react(place, figure.data, layout, { responsive: true, displaylogo: false });
  });
}
const drawAll = () => redraw.forEach((draw) => draw(lighting.matches ? "dark" : "light"));
drawAll();
lighting.addEventListener("change", drawAll);
addEventListener("beforeprint", () => redraw.forEach((draw) => draw("light")));
addEventListener("afterprint", drawAll);
