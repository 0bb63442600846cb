package main

import "time"

// scenario is what happens to a fleet.
type scenario struct {
	name, title, what string
	length            time.Duration
	begin             func(w *world)
}

var scenarios = []scenario{
	{
		"rolling-deploy", "Rolling deploy",
		"Every two minutes the next host is taken out, is down for 20 s and comes back.",
		45 * time.Minute, rollingDeploy,
	},
	{
		"scale-up", "Scale-up by 5 hosts",
		"After a minute, 5 hosts are added.",
		20 * time.Minute, scaleUp,
	},
	{
		"flapping", "A host that flaps",
		"One host breaks down 10 times, every minute for 20 s, and then stays up.",
		20 * time.Minute, flapping,
	},
}

const downTime = 20 * time.Second

func rollingDeploy(w *world) {
	for i, h := range w.hosts {
		w.after(time.Duration(2*i)*time.Minute+time.Minute, func() { w.model.takeOut(h, downTime) })
	}
}

func scaleUp(w *world) {
	w.after(time.Minute, func() {
		w.addHosts(5)
		w.model.grown()
	})
}

func flapping(w *world) {
	h := w.hosts[0]
	for i := range 10 {
		w.after(time.Duration(i+1)*time.Minute, func() {
			w.stop(h)
			w.after(downTime, func() { h.up = true })
		})
	}
}
