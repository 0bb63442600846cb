//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tree returns the process and its descendants.
func tree(pid int) []int {
	pids := []int{pid}
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, file := range files {
		children, _ := os.ReadFile(file) //nolint:gosec // of /proc
		for field := range strings.FieldsSeq(string(children)) {
			if child, err := strconv.Atoi(field); err == nil {
				pids = append(pids, tree(child)...)
			}
		}
	}
	return pids
}

// cpu is what the processes have used so far, to the nanosecond, by the kernel's scheduler: the first field of schedstat, summed
// over their threads. Where the kernel has none, it is utime and stime, to the
// hundredth of a second.
func cpu(pids ...int) time.Duration {
	var sum time.Duration
	for _, pid := range pids {
		var precise time.Duration
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
		for _, file := range files {
			stat, _ := os.ReadFile(file) //nolint:gosec // of /proc
			first, _, _ := strings.Cut(string(stat), " ")
			ns, _ := strconv.ParseInt(first, 10, 64)
			precise += time.Duration(ns)
		}
		if precise == 0 {
			precise = ticks(pid)
		}
		sum += precise
	}
	return sum
}

func ticks(pid int) time.Duration {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// rss is the resident memory of the process and its descendants, in KiB.
func rss(pid int) float64 {
	sum := 0
	for _, pid := range tree(pid) {
		sum += kibOf(fmt.Sprintf("/proc/%d/status", pid), "VmRSS:")
	}
	return float64(sum)
}

func kibOf(file, field string) int {
	status, _ := os.ReadFile(file) //nolint:gosec // of /proc
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, field); ok {
			if fields := strings.Fields(rest); len(fields) > 0 {
				kib, _ := strconv.Atoi(fields[0])
				return kib
			}
		}
	}
	return 0
}

// socketMemory is what the kernel holds in the buffers of all TCP sockets of the
// machine, in KiB.
func socketMemory() float64 {
	stat, _ := os.ReadFile("/proc/net/sockstat")
	for line := range strings.Lines(string(stat)) {
		if rest, ok := strings.CutPrefix(line, "TCP:"); ok {
			fields := strings.Fields(rest)
			for i := 0; i+1 < len(fields); i += 2 {
				if fields[i] == "mem" {
					pages, _ := strconv.Atoi(fields[i+1])
					return float64(pages * os.Getpagesize() / 1024)
				}
			}
		}
	}
	return 0
}

// descriptors is how many files the process has open.
func descriptors(pid int) int {
	list, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return len(list)
}

// fileLimit is how many files a process may open.
func fileLimit() uint64 {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 1024
	}
	return min(limit.Max, 1<<20)
}

// machine describes where this runs.
func machine() string {
	name := "an unnamed processor"
	info, _ := os.ReadFile("/proc/cpuinfo")
	cores := 0
	for line := range strings.Lines(string(info)) {
		key, value, _ := strings.Cut(line, ":")
		switch strings.TrimSpace(key) {
		case "model name":
			name = strings.TrimSpace(value)
		case "processor":
			cores++
		}
	}
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return fmt.Sprintf("%d cores (%s), %.0f GiB of memory, Linux %s", cores, name,
		float64(kibOf("/proc/meminfo", "MemTotal:"))/(1<<20), strings.TrimSpace(string(release)))
}
