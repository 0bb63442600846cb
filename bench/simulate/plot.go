package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// The sizes of a plot, in pixels.
const (
	plotWidth, plotHeight = 900, 440
	plotLeft, plotRight   = 70, 20
	plotTop, plotBottom   = 84, 56
	plotPoints            = 400 // at most, of a line
)

// Colours that most people can tell apart, and dashes for those who cannot.
var lineStyles = []string{
	`stroke="#0072b2" stroke-width="2.5"`,
	`stroke="#009e73" stroke-width="2.5"`,
	`stroke="#56b4e9" stroke-width="1.5"`,
	`stroke="#d55e00" stroke-width="1.5" stroke-dasharray="7 3"`,
	`stroke="#cc79a7" stroke-width="1.5"`,
	`stroke="#7f7f7f" stroke-width="1.5" stroke-dasharray="2 3"`,
}

// frame says where values are in a plot.
type frame struct {
	seconds     int
	lowest, top float64
}

func (f frame) x(second float64) float64 {
	return plotLeft + second/float64(f.seconds)*(plotWidth-plotLeft-plotRight)
}

func (f frame) y(v float64) float64 {
	return plotHeight - plotBottom - (v-f.lowest)/(f.top-f.lowest)*(plotHeight-plotTop-plotBottom)
}

// plot draws the imbalance over time as SVG.
func plot(title string, results []result) string {
	f := frame{seconds: len(results[0].imbalance) - 1, lowest: 1}
	for _, r := range results {
		f.top = max(f.top, r.peak)
	}
	step := niceStep((f.top - f.lowest) / 6)
	f.top = f.lowest + step*math.Ceil((f.top-f.lowest)/step)

	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="sans-serif" font-size="13" fill="#222">`+"\n",
		plotWidth, plotHeight, plotWidth, plotHeight)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", plotWidth, plotHeight)
	fmt.Fprintf(&b, `<text x="%d" y="26" font-size="17" font-weight="bold">%s</text>`+"\n", plotLeft, html.EscapeString(title))
	drawAxes(&b, f, step)
	for i, r := range results {
		drawLine(&b, f, r.imbalance, lineStyles[i%len(lineStyles)])
	}
	drawLegend(&b, results)
	b.WriteString("</svg>\n")
	return b.String()
}

// niceStep rounds up to 1, 2 or 5 of some power of ten.
func niceStep(v float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	for _, n := range []float64{1, 2, 5} {
		if n*unit >= v {
			return n * unit
		}
	}
	return 10 * unit
}

func drawAxes(b *strings.Builder, f frame, step float64) {
	const right, bottom = plotWidth - plotRight, plotHeight - plotBottom
	for i := range int(math.Round((f.top-f.lowest)/step)) + 1 {
		v := f.lowest + float64(i)*step
		fmt.Fprintf(b, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#ddd"/>`+"\n", plotLeft, right, f.y(v), f.y(v))
		fmt.Fprintf(b, `<text x="%d" y="%.1f" text-anchor="end">%.*f</text>`+"\n", plotLeft-8, f.y(v)+4, decimals(step), v)
	}
	minutes := f.seconds / 60
	every := max(1, int(niceStep(float64(minutes)/10)))
	for m := 0; m <= minutes; m += every {
		x := f.x(float64(m * 60))
		fmt.Fprintf(b, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#888"/>`+"\n", x, x, bottom, bottom+5)
		fmt.Fprintf(b, `<text x="%.1f" y="%d" text-anchor="middle">%d</text>`+"\n", x, bottom+20, m)
	}
	fmt.Fprintf(b, `<line x1="%d" x2="%d" y1="%d" y2="%d" stroke="#888"/>`+"\n", plotLeft, right, bottom, bottom)
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="middle">minutes</text>`+"\n", (plotLeft+right)/2, plotHeight-12)
	fmt.Fprintf(b, `<text transform="translate(18 %d) rotate(-90)" text-anchor="middle">fullest host / mean</text>`+"\n", (plotTop+bottom)/2)
}

// decimals is how many a label needs for steps of that size.
func decimals(step float64) int { return max(1, int(math.Ceil(-math.Log10(step)-1e-9))) }

// drawLine shows the highest value of each stretch, so that no peak is lost.
func drawLine(b *strings.Builder, f frame, values []float64, style string) {
	stretch := max(1, (len(values)+plotPoints-1)/plotPoints)
	fmt.Fprintf(b, `<polyline fill="none" stroke-linejoin="round" %s points="`, style)
	for from := 0; from < len(values); from += stretch {
		highest := 0.0
		for _, v := range values[from:min(from+stretch, len(values))] {
			highest = max(highest, v)
		}
		fmt.Fprintf(b, "%.1f,%.1f ", f.x(float64(from)), f.y(highest))
	}
	b.WriteString(`"/>` + "\n")
}

// drawLegend lists the lines above the plot.
func drawLegend(b *strings.Builder, results []result) {
	for i, r := range results {
		x, y := plotLeft+i%3*220, 46+i/3*20
		fmt.Fprintf(b, `<line x1="%d" x2="%d" y1="%d" y2="%d" %s/>`+"\n", x, x+26, y, y, lineStyles[i%len(lineStyles)])
		fmt.Fprintf(b, `<text x="%d" y="%d">%s</text>`+"\n", x+32, y+4, html.EscapeString(r.model))
	}
}
