(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const touch = matchMedia("(pointer: coarse)").matches;
  const narrow = matchMedia("(max-width: 600px)").matches;
  const colors = () => {
    const style = getComputedStyle(document.documentElement);
    const of = name => style.getPropertyValue(name).trim();
    const axis = name => ({ [name + ".gridcolor"]: of("--grid"), [name + ".linecolor"]: of("--line") });
    return {
      "font.color": of("--ink"), "font.family": getComputedStyle(document.body).fontFamily, "font.size": 13,
      "hoverlabel.bgcolor": of("--raised"), "hoverlabel.bordercolor": of("--line"), "hoverlabel.font.color": of("--ink"),
      "hoverlabel.font.family": getComputedStyle(document.body).fontFamily,
      ...axis("xaxis"), ...axis("yaxis"),
    };
  };
  const recolor = div => {
    // The numbers in a heat map's fields take no layout's color.
    const maps = div.data.flatMap((trace, index) => trace.type === "heatmap" ? [index] : []);
    const ink = getComputedStyle(document.documentElement).getPropertyValue("--ink").trim();
    const painted = maps.length ? Plotly.restyle(div, { "textfont.color": ink }, maps) : Promise.resolve();
    return painted.then(() => Plotly.relayout(div, colors()));
  };
  // On a touch screen a drag scrolls the page; it must not zoom the plot under the finger.
  const plots = [...document.querySelectorAll("script[data-plot]")].map(source => {
    const div = document.getElementById(source.dataset.plot);
    const { data, layout } = JSON.parse(source.textContent);
    return Plotly.newPlot(div, data, { ...layout, height: layout.height ?? (narrow ? 460 : 380), dragmode: touch ? false : "zoom" }, { responsive: true, displayModeBar: false })
      .then(() => recolor(div)).then(() => div);
  });
  dark.addEventListener("change", () => plots.forEach(plot => plot.then(recolor)));
})();
