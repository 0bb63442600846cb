package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// logFile is where chaosCaddyfile has the gateway log.
const logFile = "connections"

// logLine is what is looked at of a line of the gateway's log.
type logLine struct {
	Msg, Level, Connection, By, Reason string
	Code                               int
	MessagesFromClient                 uint64 `json:"messages_from_client"`
	MessagesFromUpstream               uint64 `json:"messages_from_upstream"`
}

// knownCodes are those that the gateway may end a connection with.
var knownCodes = []int{1001, 1002, 1007, 1008, 1009, 1011, 1012, 1013}

// checkLog looks whether every connection that was opened was closed, once and with a
// reason, and whether the gateway has counted what clients have.
func (c *chaos) checkLog() error {
	file, err := os.Open(filepath.Join(c.gateway.dir, logFile))
	if err != nil {
		return err
	}
	defer file.Close()
	opened, closed := make(map[string]bool), make(map[string]bool)
	var wrongs []error
	lines := json.NewDecoder(bufio.NewReader(file))
	for {
		var l logLine
		err := lines.Decode(&l)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("in the gateway's log: %w", err)
		}
		switch {
		case l.Msg == "opened":
			opened[l.Connection] = true
		case l.Msg == "closed" && (!opened[l.Connection] || closed[l.Connection]):
			wrongs = append(wrongs, fmt.Errorf("closed, but not opened, or twice: %+v", l))
		case l.Msg == "closed":
			closed[l.Connection] = true
			if err := c.checkClosed(l); err != nil {
				wrongs = append(wrongs, err)
			}
		case l.Level == "error":
			wrongs = append(wrongs, fmt.Errorf("an error in the log: %+v", l))
		}
	}
	for id := range opened {
		if !closed[id] {
			wrongs = append(wrongs, fmt.Errorf("connection %s was opened and never closed", id))
		}
	}
	fmt.Printf("log: %d connections opened, %d closed\n", len(opened), len(closed))
	return errors.Join(wrongs[:min(len(wrongs), shownWrongs)]...)
}

func (c *chaos) checkClosed(l logLine) error {
	if l.By == "gateway" && (!slices.Contains(knownCodes, l.Code) || l.Reason == "") {
		return fmt.Errorf("closed by the gateway with %d %q", l.Code, l.Reason)
	}
	saw, ok := c.tally.inOrder[l.Connection]
	if ok && (saw.sent != l.MessagesFromClient || saw.heard != l.MessagesFromUpstream) {
		return fmt.Errorf("%s: the gateway has counted %d messages and %d, the client %d and %d",
			&saw.life, l.MessagesFromClient, l.MessagesFromUpstream, saw.sent, saw.heard)
	}
	return nil
}
