package bulletin_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/article"
	"github.com/loa-syndication/loa/internal/bulletin"
	"github.com/loa-syndication/loa/internal/bulletin/bulletintest"
)

// all renders an article in every form.
func all(t testing.TB, a *article.Article) (docs [bulletin.Forms]bulletin.Document) {
	t.Helper()
	for f := range bulletin.Forms {
		var err error
		if docs[f], err = bulletin.Render(a, bulletintest.Site, f); err != nil {
			t.Fatal(err)
		}
	}
	return docs
}

// told reads a document as a receiver does.
func told(t testing.TB, d bulletin.Document) events.Bulletin {
	t.Helper()
	bs, err := bulletin.Parse(d.ContentType, d.Body)
	if err != nil || len(bs) != 1 {
		t.Fatalf("%d bulletins, %v, of %s", len(bs), err, d.Body)
	}
	return bs[0]
}

// inUTC makes times comparable, whatever offset each form wrote them with.
func inUTC(b events.Bulletin) events.Bulletin {
	for _, at := range []*time.Time{&b.Timestamp, &b.Data.Published, &b.Data.Updated, b.Data.ExpiresAt} {
		if at != nil {
			*at = at.UTC()
		}
	}
	if w := b.Data.Withdrawal; w != nil {
		c := *w
		c.WithdrawnAt = w.WithdrawnAt.UTC()
		b.Data.Withdrawal = &c
	}
	return b
}

func TestEveryFormSaysTheSame(t *testing.T) {
	for name, a := range map[string]*article.Article{"live": bulletintest.Live(), "withdrawn": bulletintest.Withdrawn()} {
		docs := all(t, a)
		full := inUTC(told(t, docs[bulletin.Full]))
		if name == "live" && (full.Data.Body != a.Body || len(full.Data.Gallery) != 1 || len(full.Data.Attachments) != 1) {
			t.Errorf("%s: full is %+v", name, full)
		}
		summary := inUTC(told(t, docs[bulletin.Summary]))
		if d := summary.Data; d.Body != "" || d.Gallery != nil || d.Attachments != nil {
			t.Errorf("%s: the summary holds %+v", name, d)
		}
		for _, f := range []bulletin.Form{bulletin.Ninjs, bulletin.Atom} {
			got := inUTC(told(t, docs[f]))
			if name == "withdrawn" { // when the version was made is when it was withdrawn, or when the article was last changed
				got.Data.Updated = full.Data.Updated
				// A tombstone has no categories.
				full.Data.Categories, full.Data.Tags = nil, nil
				got.Data.Categories, got.Data.Tags = nil, nil
			}
			if !reflect.DeepEqual(got, full) {
				g, _ := json.MarshalIndent(got, "", " ")
				w, _ := json.MarshalIndent(full, "", " ")
				t.Errorf("%s as %s says\n%s\nwant\n%s", name, f, g, w)
			}
		}
	}
}

func TestSmallArticleInEveryForm(t *testing.T) {
	a := bulletintest.Live()
	*a = article.Article{GUID: a.GUID, Site: a.Site, ID: a.ID, Version: a.Version, Status: a.Status, URL: a.URL,
		Title: a.Title, Language: "vi", Urgency: 5, Published: a.Published, Updated: a.Updated, Accepted: a.Accepted}
	for f, d := range all(t, a) {
		if got := told(t, d).Data; got.GUID != a.GUID || got.Version != a.Number || got.Title != a.Title || got.URL != a.URL || got.BodyOmitted {
			t.Errorf("%s says %+v", bulletin.Form(f), got)
		}
	}
	if d := all(t, a)[bulletin.Atom]; !bytes.Contains(d.Body, []byte("<author>")) {
		t.Errorf("an entry without an author: %s", d.Body)
	}
}

func TestWhatIsTooLargeIsSentAsASummaryThatSaysSo(t *testing.T) {
	a := bulletintest.Live()
	a.Body = "<p>" + strings.Repeat("Phường Hoa Mai. ", events.MaxBulletinBytes/16) + "</p>"
	for f, d := range all(t, a) {
		got := told(t, d).Data
		if f := bulletin.Form(f); got.BodyOmitted != (f != bulletin.Summary) || got.Body != "" || got.Summary != a.Summary ||
			got.Gallery != nil || got.Attachments != nil || got.Image == nil || len(d.Body) > events.MaxBulletinBytes {
			t.Errorf("%s: %d bytes, %+v", f, len(d.Body), got)
		}
	}
	a.Correction = a.Body // whatever the limits on intake are
	for f := range bulletin.Forms {
		if d, err := bulletin.Render(a, bulletintest.Site, f); err == nil {
			t.Errorf("%s of %d bytes is made", f, len(d.Body))
		}
	}
}

func TestDocumentsAreTheSameEachTime(t *testing.T) {
	for _, a := range []*article.Article{bulletintest.Live(), bulletintest.Withdrawn()} {
		if first, again := all(t, a), all(t, a); !reflect.DeepEqual(first, again) {
			t.Error("the same article rendered differently")
		}
	}
}

// ninjsSchema is IPTC's, which is not part of Loa: LOA_NINJS_SCHEMA names the file, or it lies
// beside the repository.
func ninjsSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	name := os.Getenv("LOA_NINJS_SCHEMA")
	if name == "" {
		found, _ := filepath.Glob("../../../shared/data/ninjs-3.1.schema.json")
		deeper, _ := filepath.Glob("../../../../shared/data/ninjs-3.1.schema.json")
		if found = append(found, deeper...); len(found) == 0 {
			t.Skip("IPTC's ninjs 3.1 schema is not here; LOA_NINJS_SCHEMA=FILE names it")
		}
		name = found[0]
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	// What it refers to is elsewhere. Loa writes points alone (RFC 7946 §3.1.2).
	for address, text := range map[string]string{
		"https://geojson.org/schema/GeoJSON.json": `{"type":"object","required":["type","coordinates"],"additionalProperties":false,"properties":
			{"type":{"const":"Point"},"coordinates":{"type":"array","minItems":2,"maxItems":2,"items":{"type":"number"}}}}`,
		"file:///ninjs.json": string(data),
	} {
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.AddResource(address, doc); err != nil {
			t.Fatal(err)
		}
	}
	s, err := c.Compile("file:///ninjs.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestItemsAreValidByIPTCsSchema(t *testing.T) {
	schema := ninjsSchema(t)
	large := bulletintest.Live()
	large.Body = strings.Repeat("<p>dài</p>", 200_000)
	for name, a := range map[string]*article.Article{"live": bulletintest.Live(), "withdrawn": bulletintest.Withdrawn(), "large": large} {
		var env events.NinjsBulletin
		if err := json.Unmarshal(all(t, a)[bulletin.Ninjs].Body, &env); err != nil {
			t.Fatal(err)
		}
		item, err := jsonschema.UnmarshalJSON(bytes.NewReader(env.Data.Ninjs))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(item); err != nil {
			t.Errorf("%s: %v\n%s", name, err, env.Data.Ninjs)
		}
		// The schema is closed, and so notices what it has no place for.
		item.(map[string]any)["verb"] = "publish"
		if schema.Validate(item) == nil {
			t.Errorf("%s: anything goes", name)
		}
	}
}

func TestTombstoneIsThatOfTheRFC(t *testing.T) {
	body := string(all(t, bulletintest.Withdrawn())[bulletin.Atom].Body)
	for _, want := range []string{
		`<deleted-entry xmlns="http://purl.org/atompub/tombstones/1.0"`, `ref="urn:uuid:2c5ea4c0-4067-5a0b-8b1c-1d0f5f0f9a11"`,
		`when="2026-11-25T12:30:00+07:00"`, `<name xmlns="http://www.w3.org/2005/Atom">Trang thông tin phường Hoa Mai</name>`,
		`<comment>Bài viết được thay bằng thông báo mới.</comment>`, `rel="successor-version"`, `<version>4</version>`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the tombstone lacks %s:\n%s", want, body)
		}
	}
}

func TestAtomStandsWhateverTheTextHolds(t *testing.T) {
	const nasty = "a\x0b\x00\uFFFE]]><script>&amp;\u202e\xff\""
	a := bulletintest.Live()
	a.Title, a.Summary, a.Body, a.Correction, a.Tags = nasty, nasty, "<p>"+nasty+"</p>", nasty, []string{nasty}
	a.Authors[0].Name, a.Source.Name, a.Places[0].Name, a.Rights.Copyright, a.Images[0].Alt = nasty, nasty, nasty, nasty, nasty
	w := bulletintest.Withdrawn()
	w.Title, w.Withdrawal.Reason = nasty, nasty
	for _, a := range []*article.Article{a, w} {
		d := all(t, a)[bulletin.Atom]
		dec := xml.NewDecoder(bytes.NewReader(d.Body))
		for {
			token, err := dec.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%v in %s", err, d.Body)
			}
			if e, ok := token.(xml.StartElement); ok && e.Name.Local == "script" {
				t.Errorf("text became an element in %s", d.Body)
			}
		}
		if got := told(t, d).Data.Title; got != article.Chars(nasty) {
			t.Errorf("title %q", got)
		}
	}
}

func TestWhatIsNoDocumentIsRefused(t *testing.T) {
	for _, c := range []struct{ contentType, body string }{
		{events.AtomEntryType, ""}, {events.AtomEntryType, "<entry"}, {events.AtomEntryType, `<entry xmlns="http://www.w3.org/2005/Atom"><id>a</id></entry>`},
		{events.AtomEntryType, `<feed xmlns="http://www.w3.org/2005/Atom"/>`}, {events.AtomEntryType, "{}"}, {events.AtomDeletedType, "<x/>"},
		{"text/html", "<p>"}, {"x;", "{}"}, {events.JSONType, "{}"}, {events.JSONType, `{"type":"article.published","data":{"guid":"g","version":1,"ninjs":[]}}`},
		{events.JSONType, `{"type":"article.published","data":{"guid":"g","version":1,"ninjs":{"uri":"another"}}}`},
	} {
		if bs, err := bulletin.Parse(c.contentType, []byte(c.body)); err == nil {
			t.Errorf("%s as %s is taken for %+v", c.body, c.contentType, bs)
		}
	}
	// A receiver that names no type means JSON.
	if bs, err := bulletin.Parse("", []byte(`{"type":"loa.ping"}`)); err != nil || bs[0].Type != events.BulletinPing {
		t.Errorf("%+v, %v", bs, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, a := range []*article.Article{bulletintest.Live(), bulletintest.Withdrawn()} {
		for _, d := range all(f, a) {
			f.Add(d.ContentType, d.Body)
		}
	}
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		bs, err := bulletin.Parse(contentType, body)
		for _, b := range bs {
			if err == nil && strings.HasPrefix(b.Type, "article.") && (b.Data.GUID == "" || b.Data.Version < 1) {
				t.Errorf("%q is taken for %+v", body, b)
			}
		}
	})
}

// What a portal is to hold does not depend on the form, but for the text that a summary lacks.
func TestTheHashOfAContentIsTheSameInEveryForm(t *testing.T) {
	for name, a := range map[string]*article.Article{"live": bulletintest.Live(), "corrected": bulletintest.Corrected(), "withdrawn": bulletintest.Withdrawn(), "expired": bulletintest.Expired()} {
		full, err := bulletin.Entry(a, bulletintest.Site, bulletin.Full)
		if err != nil {
			t.Fatal(err)
		}
		for form := range bulletin.Forms {
			e, err := bulletin.Entry(a, bulletintest.Site, form)
			if err != nil {
				t.Fatal(err)
			}
			differs := form == bulletin.Summary && a.Live()
			if (e.Hash != full.Hash) != differs {
				t.Errorf("%s, %s: %+v, with the text %+v", name, form, e, full)
			}
			if e.Hash = full.Hash; e != full {
				t.Errorf("%s, %s: %+v, expected %+v", name, form, e, full)
			}
		}
	}
}
