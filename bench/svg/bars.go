package svg

import (
	"fmt"
	"html"
	"strings"
)

const (
	barLeft   = 170 // for the names of groups
	barRight  = 70  // for the figure behind a bar
	barHeight = 11
	groupGap  = 14
)

// Group is the bars of one thing that was measured.
type Group struct {
	Name string
	Bars []Bar
}

// Bar is a value and the span that it was found in.
type Bar struct {
	Series          int // of the chart
	Value, Low, Top float64
}

// Chart is groups of horizontal bars from 0.
type Chart struct {
	Title  string
	Label  string // of the axis
	Series []string
	Groups []Group
	Clip   float64 // longer bars are cut here; 0 for no limit
	Mark   float64 // where a line is drawn, if above 0
	Digits int     // after the point, of the figures
}

// SVG draws the chart.
func (c Chart) SVG() string {
	head := 44 + (len(c.Series)+3)/4*20
	height, longest := head, 0.0
	for _, g := range c.Groups {
		height += len(g.Bars)*barHeight + groupGap
		for _, bar := range g.Bars {
			longest = max(longest, bar.Top)
		}
	}
	height += 50
	if c.Clip > 0 {
		longest = min(longest, c.Clip)
	}
	if longest == 0 {
		longest = 1
	}
	x := func(v float64) float64 {
		return barLeft + min(v, longest)/longest*(width-barLeft-barRight)
	}
	var b strings.Builder
	begin(&b, c.Title, height)
	c.drawSeries(&b)
	c.drawScale(&b, x, longest, head, height)
	y := head
	for _, g := range c.Groups {
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", barLeft-10, y+len(g.Bars)*barHeight/2+4, html.EscapeString(g.Name))
		for _, bar := range g.Bars {
			c.drawBar(&b, x, bar, y)
			y += barHeight
		}
		y += groupGap
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func (c Chart) drawBar(b *strings.Builder, x func(float64) float64, bar Bar, y int) {
	fmt.Fprintf(b, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`+"\n",
		barLeft, y, x(bar.Value)-barLeft, barHeight-1, colours[bar.Series%len(colours)])
	fmt.Fprintf(b, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#222"/>`+"\n", x(bar.Low), x(bar.Top), y+barHeight/2, y+barHeight/2)
	cut := ""
	if c.Clip > 0 && bar.Value > c.Clip {
		cut = " →"
	}
	fmt.Fprintf(b, `<text x="%.1f" y="%d" font-size="10">%.*f%s</text>`+"\n", x(bar.Top)+4, y+barHeight-2, c.Digits, bar.Value, cut)
}

func (c Chart) drawSeries(b *strings.Builder) {
	for i, name := range c.Series {
		x, y := left+i%4*190, 38+i/4*20
		fmt.Fprintf(b, `<rect x="%d" y="%d" width="20" height="10" fill="%s"/>`+"\n", x, y, colours[i%len(colours)])
		fmt.Fprintf(b, `<text x="%d" y="%d">%s</text>`+"\n", x+26, y+10, html.EscapeString(name))
	}
}

func (c Chart) drawScale(b *strings.Builder, x func(float64) float64, longest float64, head, height int) {
	step := NiceStep(longest / 8)
	for v := 0.0; v <= longest*(1+1e-9); v += step {
		fmt.Fprintf(b, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#ddd"/>`+"\n", x(v), x(v), head-6, height-50)
		fmt.Fprintf(b, `<text x="%.1f" y="%d" text-anchor="middle">%.*f</text>`+"\n", x(v), height-32, decimals(step), v)
	}
	if c.Mark > 0 && c.Mark <= longest {
		fmt.Fprintf(b, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#d00" stroke-dasharray="4 3"/>`+"\n", x(c.Mark), x(c.Mark), head-6, height-50)
	}
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="middle">%s</text>`+"\n", (barLeft+width-barRight)/2, height-10, html.EscapeString(c.Label))
}
