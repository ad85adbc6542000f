"use strict";
// The colours of text and rules come from the style sheet, so the figures follow light and dark.
for (const source of document.querySelectorAll("script[data-figure]")) {
  const figure = JSON.parse(source.textContent);
  const options = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d"] };
  Plotly.newPlot(source.dataset.figure, figure.data, figure.layout, options);
}
document.documentElement.dataset.plots = "drawn";
