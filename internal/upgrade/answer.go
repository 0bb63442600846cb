package upgrade

import (
	"bytes"
	"net"
	"net/http"
	"sync"
	"time"
)

// notOfUpgrades are fields that say how long a body is, which this answer has not.
var notOfUpgrades = map[string]bool{"Content-Length": true, "Transfer-Encoding": true, "Trailer": true}

// answerHeads are buffers for the heads of answers.
var answerHeads = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// answer writes a 101 with these fields on a connection, as the server would. A client
// that has left much unread of what it asked for before may not take it.
func answer(conn net.Conn, header http.Header, writeTimeout time.Duration) error {
	head := answerHeads.Get().(*bytes.Buffer) //nolint:forcetypeassert // it holds nothing else
	defer answerHeads.Put(head)
	head.Reset()
	now := time.Now()
	head.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	if _, there := header["Date"]; !there {
		head.WriteString("Date: ")
		head.Write(now.UTC().AppendFormat(head.AvailableBuffer(), http.TimeFormat))
		head.WriteString("\r\n")
	}
	_ = header.WriteSubset(head, notOfUpgrades) // to memory
	head.WriteString("\r\n")
	_ = conn.SetWriteDeadline(now.Add(writeTimeout))
	_, err := conn.Write(head.Bytes())
	return err
}
