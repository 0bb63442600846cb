package command

import (
	"context"
	"fmt"
	"net/url"
	"slices"

	"github.com/wsgateway/caddy-ws-gateway/internal/terminal"
)

// topStep is what a key asks for beside a change of the view.
type topStep int

const (
	topStay topStep = iota
	topLook         // again, for something else
	topDo           // what the question was about
	topQuit
	topInterrupted
)

// maxTyped is how many bytes a filter that is typed may have.
const maxTyped = 200

// sortKeys are the keys that sort.
var sortKeys = map[terminal.Key]string{'a': "age", 'i': "idle", 'r': "rate", 'p': "pending", 't': "rtt"}

// press changes the view by a key.
func (v *topView) press(key terminal.Key, page int) topStep {
	if key == terminal.Interrupt {
		return topInterrupted
	}
	mode := v.mode
	if mode != topTyping {
		v.mode, v.notice = topBrowsing, ""
	}
	switch mode {
	case topTyping:
		return v.pressTyping(key)
	case topAsking:
		if key == 'y' || key == 'Y' {
			return topDo
		}
		v.notice = "nothing was done"
		return topStay
	case topHelping:
		return topStay
	default:
		return v.pressBrowsing(key, page)
	}
}

func (v *topView) pressBrowsing(key terminal.Key, page int) topStep {
	if by, ok := sortKeys[key]; ok {
		v.wanted.sort = by
		return topLook
	}
	switch key {
	case 'q':
		return topQuit
	case '?':
		v.mode = topHelping
	case '/':
		v.mode, v.typed = topTyping, v.wanted.filter
	case 'd':
		v.askToDrain()
	case 'k', 'K':
		v.askToKill()
	case terminal.Tab:
		v.onUpstreams = !v.onUpstreams
		if v.onUpstreams && !slices.Contains(v.upstreams(), v.upstream) {
			v.move(terminal.Home, page)
		}
	case terminal.Escape:
		v.connection = ""
	default:
		v.move(key, page)
	}
	return topStay
}

// pressTyping changes the filter that is typed.
func (v *topView) pressTyping(key terminal.Key) topStep {
	switch {
	case key == terminal.Enter:
		v.mode, v.wanted.filter = topBrowsing, v.typed
		return topLook
	case key == terminal.Escape:
		v.mode = topBrowsing
	case key == terminal.Clear:
		v.typed = ""
	case key == terminal.Backspace && v.typed != "":
		characters := []rune(v.typed)
		v.typed = string(characters[:len(characters)-1])
	case key > 0 && len(v.typed) < maxTyped:
		v.typed += string(rune(key))
	}
	return topStay
}

// move selects another row of the table that has the focus.
func (v *topView) move(key terminal.Key, page int) {
	upstreams, count, at := v.upstreams(), len(v.sample.connections), v.connectionIndex()
	if v.onUpstreams {
		count, at = len(upstreams), slices.Index(upstreams, v.upstream)
	}
	switch key {
	case terminal.Up:
		at--
	case terminal.Down:
		at++
	case terminal.PageUp:
		at -= page
	case terminal.PageDown:
		at += page
	case terminal.Home:
		at = 0
	case terminal.End:
		at = count - 1
	default:
		return
	}
	at = max(0, min(at, count-1))
	switch {
	case count == 0:
	case v.onUpstreams:
		v.upstream = upstreams[at]
	default:
		v.connection = v.sample.connections[at].ID
	}
}

func (v *topView) askToDrain() {
	address := v.upstream.address
	if !v.onUpstreams {
		address = ""
		if at := v.connectionIndex(); at >= 0 {
			address = v.sample.connections[at].Upstream
		}
	}
	if address == "" {
		v.notice = "select an upstream first: Tab goes to them, and the arrows select"
		return
	}
	v.ask("Drain "+cell(address)+"?", func(ctx context.Context, endpoint *adminEndpoint) (string, error) {
		set, _, err := setUpstreamAt(ctx, endpoint, address, "drain")
		return cell(set.Address) + " drains", err
	})
}

func (v *topView) askToKill() {
	at := v.connectionIndex()
	if v.onUpstreams || at < 0 {
		v.notice = "select a connection first, with the arrows"
		return
	}
	connection := v.sample.connections[at]
	text := "End connection " + cell(connection.ID)
	if connection.User != "" {
		text += " of " + cell(connection.User)
	}
	v.ask(text+"?", func(ctx context.Context, endpoint *adminEndpoint) (string, error) {
		ended, err := endAt(ctx, endpoint, connectionsPath+"/"+url.PathEscape(connection.ID), nil)
		return fmt.Sprintf("ended %s", counted(ended, "connection")), err
	})
}

func (v *topView) ask(text string, do func(context.Context, *adminEndpoint) (string, error)) {
	v.mode, v.question = topAsking, topQuestion{text, do}
}
