package events_test

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/loa-syndication/loa/events"
)

// What the golden bulletins are signed with, as testdata/bulletins/README.md says.
const (
	goldenSecret = "whsec_bG9hIGdvbGRlbiBidWxsZXRpbnMsIG5vIHNlY3JldCE="
	goldenFormer = "whsec_bG9hIGdvbGRlbiBidWxsZXRpbnMsIHRoZSBvbGQgb25l"
)

func TestGoldenBulletinsAreReadAsTheContractSays(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "bulletins", "*.http"))
	if err != nil || len(files) < 13 {
		t.Fatalf("%d golden bulletins, %v", len(files), err)
	}
	readme, err := os.ReadFile(filepath.Join("testdata", "bulletins", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{goldenSecret, goldenFormer} {
		if !bytes.Contains(readme, []byte(secret)) {
			t.Errorf("README.md does not tell %s", secret)
		}
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".http")
		if !bytes.Contains(readme, []byte("`"+name+".http`")) {
			t.Errorf("README.md does not tell of %s", file)
		}
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil || !bytes.HasSuffix(raw, body) {
			t.Fatalf("%s: the body is not its last %d bytes: %v", file, len(body), err)
		}
		seconds, err := strconv.ParseInt(r.Header.Get(events.HeaderTimestamp), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		verify := func(secret string, body []byte) error {
			v, err := events.NewVerifier(secret)
			if err != nil {
				t.Fatal(err)
			}
			v.Now = func() time.Time { return time.Unix(seconds, 0) }
			return v.Verify(r.Header, body)
		}
		if err := verify(goldenSecret, body); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		if (verify(goldenFormer, body) == nil) != (name == "rotation") {
			t.Errorf("%s: the former secret: %v", file, verify(goldenFormer, body))
		}
		if verify(goldenSecret, append(body, ' ')) == nil {
			t.Errorf("%s: another body is taken for it", file)
		}
		if strings.HasPrefix(name, "atom") {
			want := events.AtomEntryType
			if name == "atom-withdrawal" {
				want = events.AtomDeletedType
			}
			if got := r.Header.Get("Content-Type"); got != want {
				t.Errorf("%s: Content-Type %q, expected %q", file, got, want)
			}
			continue
		}
		if got := r.Header.Get("Content-Type"); got != events.JSONType {
			t.Errorf("%s: Content-Type %q", file, got)
		}
		schema := events.BulletinSchema
		switch {
		case strings.HasPrefix(name, "ninjs"):
			schema = events.NinjsSchema
		case name == "digest":
			schema = events.DigestSchema
		case name == "manifest":
			schema = events.ManifestSchema
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if err := compiler(t).MustCompile(schemaBase + schema).Validate(doc); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		bulletins, err := events.ParseBulletins(body)
		if err != nil {
			t.Errorf("%s: %v", file, err)
		}
		for _, b := range bulletins {
			if b.Type == events.BulletinManifest {
				answeredAsTheContractSays(t, body)
				continue
			}
			withdrawn := name == "withdrawal" || name == "expiry" || name == "ninjs-withdrawal" || b.Data.Version == 4
			if b.Type != events.BulletinPing && (b.Type == events.BulletinWithdrawn) != withdrawn {
				t.Errorf("%s: type %s", file, b.Type)
			}
		}
	}
}

// answeredAsTheContractSays reads the golden answers to the golden manifest.
func answeredAsTheContractSays(t *testing.T, body []byte) {
	t.Helper()
	m, err := events.ParseManifest(body)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"manifest-answer.json", "manifest-answer-compared.json"} {
		answer, err := os.ReadFile(filepath.Join("testdata", "bulletins", name))
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(answer))
		if err != nil {
			t.Fatal(err)
		}
		if err := compiler(t).MustCompile(schemaBase + events.HoldingsSchema).Validate(doc); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		h, err := events.ParseHoldings(answer, m.Data)
		if err != nil || len(h.Holds) != 1 || h.Holds[0].Version != 2 || h.Compared != (len(h.Missing) == 1) {
			t.Errorf("%s: %+v, %v", name, h, err)
		}
	}
}
