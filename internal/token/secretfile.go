package token

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxSecretFile is more than a token, a key or a set of keys ever has.
const maxSecretFile = 1 << 20

// The reasons not to take the content of a file for a secret. None shows any of it.
var (
	errFileEmpty  = errors.New("cannot be read, or is empty")
	errFileLarge  = errors.New("is larger than 1 MiB")
	errFileUTF16  = errors.New("is in UTF-16, as some editors and shells write it: save it as UTF-8")
	errFileLeads  = errors.New("begins with white space, which may belong to the secret or not: remove it")
	errFileBinary = errors.New("holds no text and ends with a blank or a line break, which may belong to the secret or not: " +
		"encode it with base64, or make another secret")
)

// ReadSecretFile reads a file that holds one secret, or keys.
func ReadSecretFile(name string) (string, error) {
	file, err := os.Open(name) //nolint:gosec // the operator names it
	if err != nil {
		return "", err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxSecretFile+1))
	switch {
	case err != nil:
		return "", err
	case len(content) > maxSecretFile:
		return "", errFileLarge
	}
	return secretIn(content)
}

// secretIn returns the secret in the content of a file, without a byte order mark in
// front, and without blanks and line breaks behind. Ambiguous content is an error.
func secretIn(content []byte) (string, error) {
	if bytes.HasPrefix(content, []byte("\xff\xfe")) || bytes.HasPrefix(content, []byte("\xfe\xff")) {
		return "", errFileUTF16
	}
	text := strings.TrimPrefix(string(content), "\ufeff")
	trimmed := strings.TrimSpace(text)
	switch {
	case trimmed == "":
		return "", errFileEmpty
	case trimmed == text:
		return text, nil
	case strings.Contains(text, "-----BEGIN"), trimmed[0] == '{' && !isBinary(text):
		return trimmed, nil // PEM or JSON, to which white space is nothing
	case isBinary(text):
		return "", errFileBinary
	case !strings.HasPrefix(text, trimmed):
		return "", errFileLeads
	}
	return trimmed, nil
}

// isBinary reports whether s is no text.
func isBinary(s string) bool {
	return !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) && !unicode.IsSpace(r)
	})
}

// checkRereadable refuses files that can be read only once, or that wait for a writer:
// pipes, terminals, sockets.
func checkRereadable(names ...string) error {
	for _, name := range names {
		info, err := os.Stat(name)
		switch {
		case err != nil:
			return err
		case !info.Mode().IsRegular():
			return fmt.Errorf("%s is no regular file", name)
		}
	}
	return nil
}
