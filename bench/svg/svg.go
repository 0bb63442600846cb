// Package svg draws the plots of the benchmark and of the simulation.
package svg

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// The sizes of a plot, in pixels.
const (
	width        = 900
	left, right  = 70, 20
	top, bottom  = 84, 56
	lineHeight   = 440
	legendColumn = 220
)

// Colours that most people can tell apart, and dashes for those who cannot.
var (
	colours = []string{"#0072b2", "#009e73", "#d55e00", "#cc79a7", "#e69f00", "#7f7f7f", "#56b4e9", "#000"}
	dashes  = []string{"", "", "7 3", "", "4 2", "2 3", "1 2", ""}
)

// Line is one line of a plot.
type Line struct {
	Name string
	X, Y []float64
}

// Plot is lines over two axes.
type Plot struct {
	Title  string
	XLabel string
	YLabel string
	Lowest float64 // of the vertical axis
	Lines  []Line
}

// frame says where values are in a plot.
type frame struct {
	right       float64
	lowest, top float64
}

func (f frame) x(v float64) float64 {
	return left + v/f.right*(width-left-right)
}

func (f frame) y(v float64) float64 {
	return lineHeight - bottom - (v-f.lowest)/(f.top-f.lowest)*(lineHeight-top-bottom)
}

// SVG draws the plot.
func (p Plot) SVG() string {
	f := frame{right: 1, lowest: p.Lowest}
	highest := p.Lowest
	for _, l := range p.Lines {
		for i := range l.X {
			f.right, highest = max(f.right, l.X[i]), max(highest, l.Y[i])
		}
	}
	if highest == p.Lowest {
		highest++
	}
	step := NiceStep((highest - p.Lowest) / 6)
	f.top = p.Lowest + step*math.Ceil((highest-p.Lowest)/step)

	var b strings.Builder
	begin(&b, p.Title, lineHeight)
	p.drawAxes(&b, f, step)
	for i, l := range p.Lines {
		drawLine(&b, f, l, stroke(i))
	}
	for i, l := range p.Lines {
		x, y := left+i%3*legendColumn, 46+i/3*20
		fmt.Fprintf(&b, `<line x1="%d" x2="%d" y1="%d" y2="%d" %s/>`+"\n", x, x+26, y, y, stroke(i))
		fmt.Fprintf(&b, `<text x="%d" y="%d">%s</text>`+"\n", x+32, y+4, html.EscapeString(l.Name))
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func begin(b *strings.Builder, title string, height int) {
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="sans-serif" font-size="13" fill="#222">`+"\n",
		width, height, width, height)
	fmt.Fprintf(b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", width, height)
	fmt.Fprintf(b, `<text x="%d" y="26" font-size="17" font-weight="bold">%s</text>`+"\n", left, html.EscapeString(title))
}

func stroke(i int) string {
	s := fmt.Sprintf(`stroke="%s" stroke-width="2"`, colours[i%len(colours)])
	if dash := dashes[i%len(dashes)]; dash != "" {
		s += fmt.Sprintf(` stroke-dasharray="%s"`, dash)
	}
	return s
}

// NiceStep rounds up to 1, 2 or 5 of some power of ten.
func NiceStep(v float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	for _, n := range []float64{1, 2, 5} {
		if n*unit >= v*(1-1e-9) {
			return n * unit
		}
	}
	return 10 * unit
}

func (p Plot) drawAxes(b *strings.Builder, f frame, step float64) {
	const end, base = width - right, lineHeight - bottom
	for i := range int(math.Round((f.top-f.lowest)/step)) + 1 {
		v := f.lowest + float64(i)*step
		fmt.Fprintf(b, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#ddd"/>`+"\n", left, end, f.y(v), f.y(v))
		fmt.Fprintf(b, `<text x="%d" y="%.1f" text-anchor="end">%.*f</text>`+"\n", left-8, f.y(v)+4, decimals(step), v)
	}
	every := NiceStep(f.right / 10)
	for v := 0.0; v <= f.right*(1+1e-9); v += every {
		fmt.Fprintf(b, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#888"/>`+"\n", f.x(v), f.x(v), base, base+5)
		fmt.Fprintf(b, `<text x="%.1f" y="%d" text-anchor="middle">%.*f</text>`+"\n", f.x(v), base+20, decimals(every), v)
	}
	fmt.Fprintf(b, `<line x1="%d" x2="%d" y1="%d" y2="%d" stroke="#888"/>`+"\n", left, end, base, base)
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="middle">%s</text>`+"\n", (left+end)/2, lineHeight-12, html.EscapeString(p.XLabel))
	fmt.Fprintf(b, `<text transform="translate(18 %d) rotate(-90)" text-anchor="middle">%s</text>`+"\n", (top+base)/2, html.EscapeString(p.YLabel))
}

// decimals is how many a label needs for steps of that size.
func decimals(step float64) int { return max(0, int(math.Ceil(-math.Log10(step)-1e-9))) }

func drawLine(b *strings.Builder, f frame, l Line, style string) {
	fmt.Fprintf(b, `<polyline fill="none" stroke-linejoin="round" %s points="`, style)
	for i := range l.X {
		fmt.Fprintf(b, "%.1f,%.1f ", f.x(l.X[i]), f.y(l.Y[i]))
	}
	b.WriteString(`"/>` + "\n")
}
