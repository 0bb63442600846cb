package token

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// writeFile makes a file for a test and returns its name.
func writeFile(tb testing.TB, name, content string) string {
	tb.Helper()
	if !filepath.IsAbs(name) {
		name = filepath.Join(tb.TempDir(), name)
	}
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		tb.Fatal(err)
	}
	return name
}

// TestSecretsInFilesArePlain whatever an editor or a shell put around them, or
// else they are refused.
func TestSecretsInFilesArePlain(t *testing.T) {
	t.Parallel()
	const secret = "correct horse battery staple"
	binary := "\x00\xff\x80 binary"
	for name, row := range map[string]struct {
		content string
		want    string
		err     error
	}{
		"as it is":                         {secret, secret, nil},
		"a line break":                     {secret + "\n", secret, nil},
		"two":                              {secret + "\n\n", secret, nil},
		"of Windows":                       {secret + "\r\n", secret, nil},
		"two of Windows":                   {secret + "\r\n\r\n", secret, nil},
		"of old Macs":                      {secret + "\r", secret, nil},
		"blanks behind":                    {secret + " \t ", secret, nil},
		"a blank and a line break":         {secret + " \n", secret, nil},
		"a line of blanks":                 {secret + "\n  \n", secret, nil},
		"a byte order mark":                {"\ufeff" + secret, secret, nil},
		"the mark and a break":             {"\ufeff" + secret + "\r\n", secret, nil},
		"letters beyond ASCII":             {"größe\n", "größe", nil},
		"UTF-16, as PowerShell":            {"\xff\xfes\x00e\x00c\x00", "", errFileUTF16},
		"UTF-16, the other way":            {"\xfe\xff\x00s\x00e\x00c", "", errFileUTF16},
		"a blank in front":                 {" " + secret, "", errFileLeads},
		"a line in front":                  {"\n" + secret + "\n", "", errFileLeads},
		"empty":                            {"", "", errFileEmpty},
		"nothing but breaks":               {"\r\n\n", "", errFileEmpty},
		"nothing but a mark":               {"\ufeff", "", errFileEmpty},
		"binary":                           {binary, binary, nil},
		"binary that ends with a break":    {binary + "\n", "", errFileBinary},
		"binary that ends with a blank":    {binary + " ", "", errFileBinary},
		"binary that begins with a blank":  {" " + binary, "", errFileBinary},
		"PEM":                              {"\n-----BEGIN X-----\r\nAA==\r\n-----END X-----\r\n\r\n", "-----BEGIN X-----\r\nAA==\r\n-----END X-----", nil},
		"JSON":                             {"\ufeff \n{\"keys\":[]}\n", `{"keys":[]}`, nil},
		"a secret that begins with braces": {"{brace} and more", "{brace} and more", nil},
	} {
		got, err := ReadSecretFile(writeFile(t, "secret", row.content))
		if !errors.Is(err, row.err) || got != row.want {
			t.Errorf("%s: %q, %v, want %q, %v", name, got, err, row.want, row.err)
		}
	}
	if _, err := ReadSecretFile(writeFile(t, "large", strings.Repeat("x", maxSecretFile+1))); !errors.Is(err, errFileLarge) {
		t.Errorf("a large one: %v", err)
	}
	if _, err := ReadSecretFile(t.TempDir()); err == nil {
		t.Error("a directory is no secret")
	}
}

// TestKeysAreReadFromFilesThatPeopleMake as from those that programs make.
func TestKeysAreReadFromFilesThatPeopleMake(t *testing.T) {
	t.Parallel()
	const secret = "a shared secret of 32 bytes and more"
	pem := publicText(t, "ES256")
	jwk := `{"kty":"oct","k":"` + strings.Repeat("A", 43) + `"}`
	for name, clean := range map[string]string{"secret": secret, "PEM": pem, "JWK": jwk, "JWK set": `{"keys":[` + jwk + `]}`} {
		want, err := newVerifyKeys(clean, nil, resolve)
		if err != nil {
			t.Fatal(err)
		}
		for how, content := range map[string]string{
			"a mark":    "\ufeff" + clean,
			"Windows":   strings.ReplaceAll(clean, "\n", "\r\n") + "\r\n",
			"blanks":    clean + " \n\n",
			"all of it": "\ufeff" + strings.ReplaceAll(clean, "\n", " \r\n") + "\t\r\n\r\n",
		} {
			got, err := newVerifyKeys("{file."+writeFile(t, "key", content)+"}", nil, resolve)
			if err != nil {
				t.Errorf("%s with %s: %v", name, how, err)
			} else if got[0].credential != want[0].credential {
				t.Errorf("%s with %s is another key", name, how)
			}
		}
	}
}

func FuzzSecretInFile(f *testing.F) {
	for _, seed := range []string{"secret\r\n", "\ufeffs", " s", "\x00 ", "{a} ", "-----BEGIN", "\n\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		secret, err := secretIn(content)
		if err != nil {
			return
		}
		if secret == "" || !bytes.Contains(content, []byte(secret)) {
			t.Fatalf("%q makes %q", content, secret)
		}
		if again, err := secretIn([]byte(secret)); err == nil && again != secret && !strings.HasPrefix(secret, "\ufeff") {
			t.Fatalf("%q makes %q, and that %q", content, secret, again)
		}
	})
}
