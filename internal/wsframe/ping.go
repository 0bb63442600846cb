package wsframe

// AppendPing appends a ping frame to dst, not masked, as a server sends it to a client.
// A payload that is longer than a control frame can carry is cut.
func AppendPing(dst, payload []byte) []byte {
	payload = payload[:min(len(payload), maxControl)]
	dst = append(dst, finBit|byte(Ping), byte(len(payload)))
	return append(dst, payload...)
}
