package main

import (
	"fmt"
	"slices"
)

// results are those of each proxy, by round.
type results map[string][]result

// median is that of a figure over the rounds.
func (all results) median(name string, figure func(result) float64) float64 {
	values := make([]float64, 0, len(all[name]))
	for _, r := range all[name] {
		values = append(values, figure(r))
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func (all results) print(s settings) {
	fmt.Printf("%d event streams over %s, medians of %d rounds; %d events of %d bytes a second in all\n\n", s.n, s.proto, s.rounds, s.rate, eventSize)
	fmt.Println("| | resident KiB | live heap KiB | heap in use KiB | stacks KiB | goroutines | heap and stacks beyond the row above, bytes | CPU µs per event | × reverse_proxy |")
	fmt.Println("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
	const kib = 1024
	held := func(name string) float64 {
		return all.median(name, func(r result) float64 { return r.heap }) + all.median(name, func(r result) float64 { return r.stack })
	}
	for i, p := range proxies {
		of := func(figure func(result) float64) float64 { return all.median(p.name, figure) }
		beyond := "–"
		if i > 0 {
			beyond = fmt.Sprintf("%+.0f", held(p.name)-held(proxies[i-1].name))
		}
		cpu := func(r result) float64 { return r.cpu }
		fmt.Printf("| %s | %.1f | %.2f | %.2f | %.2f | %.2f | %s | %.1f | %.2f |\n", p.name,
			of(func(r result) float64 { return r.resident / kib }), of(func(r result) float64 { return r.heap / kib }),
			of(func(r result) float64 { return r.inUse / kib }), of(func(r result) float64 { return r.stack / kib }),
			of(func(r result) float64 { return r.goroutines }), beyond, of(cpu), of(cpu)/all.median(proxies[0].name, cpu))
	}
}
