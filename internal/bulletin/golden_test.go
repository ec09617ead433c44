package bulletin_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/bulletin"
	"github.com/loa-syndication/loa/internal/bulletin/bulletintest"
)

var update = flag.Bool("update", false, "write the golden bulletins anew")

// Published with the golden bulletins, and good for nothing else.
const (
	goldenSecret = "whsec_bG9hIGdvbGRlbiBidWxsZXRpbnMsIG5vIHNlY3JldCE="
	goldenFormer = "whsec_bG9hIGdvbGRlbiBidWxsZXRpbnMsIHRoZSBvbGQgb25l"
)

// golden is a bulletin as it is posted.
type golden struct {
	bulletin.Document
	at      time.Time
	secrets []string
}

func goldens(t *testing.T) map[string]golden {
	t.Helper()
	all := map[string]golden{}
	add := func(name string, a *article.Article, f bulletin.Form, secrets ...string) {
		d, err := bulletin.Render(a, bulletintest.Site, f)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = golden{d, a.Accepted.Add(time.Second), append([]string{goldenSecret}, secrets...)}
	}
	add("published", bulletintest.Live(), bulletin.Summary)
	add("update", bulletintest.Updated(), bulletin.Summary)
	add("correction", bulletintest.Corrected(), bulletin.Summary)
	add("withdrawal", bulletintest.Withdrawn(), bulletin.Summary)
	add("expiry", bulletintest.Expired(), bulletin.Summary)
	add("rotation", bulletintest.Live(), bulletin.Summary, goldenFormer)
	add("full", bulletintest.Live(), bulletin.Full)
	add("ninjs", bulletintest.Live(), bulletin.Ninjs)
	add("ninjs-withdrawal", bulletintest.Withdrawn(), bulletin.Ninjs)
	add("atom", bulletintest.Live(), bulletin.Atom)
	add("atom-withdrawal", bulletintest.Withdrawn(), bulletin.Atom)

	at := bulletintest.Withdrawn().Accepted
	other := bulletintest.Live()
	other.GUID, other.ID, other.Title = article.NewGUID(other.Site, "2026-1150"), "2026-1150", "Chợ Hoa Mai họp lại từ Chủ nhật"
	digest := events.Digest{Type: events.BulletinDigest, Timestamp: at, Data: events.DigestData{More: 1}}
	for _, a := range []*article.Article{other, bulletintest.Withdrawn()} {
		digest.Data.Articles = append(digest.Data.Articles, bulletin.New(a, bulletintest.Site.Name).Data)
	}
	manifest := events.Manifest{Type: events.BulletinManifest, Timestamp: at, Data: events.ManifestPage{Page: 1}}
	for _, a := range []*article.Article{other, bulletintest.Corrected()} {
		entry, err := bulletin.Entry(a, bulletintest.Site, bulletin.Summary)
		if err != nil {
			t.Fatal(err)
		}
		manifest.Data.Entries = append(manifest.Data.Entries, entry)
	}
	for name, v := range map[string]any{"digest": digest, "manifest": manifest, "ping": events.Bulletin{Type: events.BulletinPing, Timestamp: at}} {
		body, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = golden{bulletin.Document{Body: body, ContentType: events.JSONType}, at.Add(time.Second), []string{goldenSecret}}
	}
	return all
}

// request writes the golden bulletin as an HTTP request, but for line ends of one byte.
func (g golden) request(t *testing.T, name string) []byte {
	t.Helper()
	id := fmt.Sprintf("msg_%x", sha256.Sum256([]byte(name)))[:len("msg_")+32]
	var out bytes.Buffer
	fmt.Fprintf(&out, "POST /loa HTTP/1.1\nHost: portal.example\nUser-Agent: Loa\nContent-Type: %s\nContent-Length: %d\n%s: %s\n%s: %d\n%s:",
		g.ContentType, len(g.Body), events.HeaderID, id, events.HeaderTimestamp, g.at.Unix(), events.HeaderSignature)
	for _, secret := range g.secrets {
		signature, err := events.Sign(secret, id, g.at, g.Body)
		if err != nil {
			t.Fatal(err)
		}
		out.WriteString(" " + signature)
	}
	out.WriteString("\n\n")
	out.Write(g.Body)
	return out.Bytes()
}

// The files are read by events' own tests, as a receiver reads them.
func TestGoldenBulletinsAreWhatLoaSends(t *testing.T) {
	dir := filepath.FromSlash("../../events/testdata/bulletins")
	all := goldens(t)
	for name, g := range all {
		file, want := filepath.Join(dir, name+".http"), g.request(t, name)
		if *update {
			if err := os.WriteFile(file, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not\n%s\n(go test ./internal/bulletin -update, if receivers can bear it)", file, want)
		}
	}
	if files, err := filepath.Glob(filepath.Join(dir, "*.http")); err != nil || len(files) != len(all) {
		t.Errorf("%d files of %d golden bulletins, %v", len(files), len(all), err)
	}
}
