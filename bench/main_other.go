//go:build !linux

// Command bench compares this gateway with other proxies. It measures by Linux's
// /proc and epoll, and runs nowhere else.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench: it needs Linux")
	os.Exit(1)
}
