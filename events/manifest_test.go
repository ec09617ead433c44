package events_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/loa-syndication/loa/events"
)

// The known answers tell other implementations from right ones.
func TestHashesOfContents(t *testing.T) {
	for _, c := range []struct {
		a    events.BulletinArticle
		want string
	}{
		{events.BulletinArticle{}, "sha256:8855508aade16ec573d21e6a485dfd0a7624085c1a14b5ecdd6485de0c6839a4"},
		{events.BulletinArticle{Title: "Chợ phiên", URL: "https://a.example/1", Summary: "Họp.", Body: "<p>Họp.</p>", Correction: "Sửa giờ.",
			Image: &events.BulletinImage{Rendition: events.Rendition{URL: "https://a.example/1.jpg"}}},
			"sha256:462cf3f6a2a27812dffa45cec8b70be7721bbce2122e79b354074b21fb7fccda"},
	} {
		if got := c.a.Hash(); got != c.want {
			t.Errorf("%+v: %s, expected %s", c.a, got, c.want)
		}
	}
}

func TestAnswersToManifestsAreChecked(t *testing.T) {
	page := events.ManifestPage{Page: 2, After: "b", UpTo: "d"}
	entry := func(guid string) string { return fmt.Sprintf(`{"guid":%q,"version":1,"status":"live"}`, guid) }
	many := func(n int) string {
		var all []string
		for i := range n {
			all = append(all, entry(fmt.Sprintf("c%03d", i)))
		}
		return strings.Join(all, ",")
	}
	for answer, want := range map[string]string{
		`{"type":"loa.holdings"}`: "",
		`{"type":"loa.holdings","holds":[` + entry("c") + `],"of_a_newer_portal":1}`:           "",
		`{"type":"loa.holdings","holds":[` + entry("d") + `]}`:                                 "",
		`{"type":"loa.holdings","holds":[` + entry("b") + `]}`:                                 `guid "b"`,
		`{"type":"loa.holdings","holds":[` + entry("d0") + `]}`:                                `guid "d0"`,
		`{"type":"loa.holdings","holds":[` + entry("c") + `,` + entry("c") + `]}`:              "named twice",
		`{"type":"loa.holdings","holds":[` + entry("c") + `],"compared":true,"missing":["c"]}`: "named twice",
		`{"type":"loa.holdings","holds":[],"missing":["c"]}`:                                   "beside compared",
		`{"type":"loa.holdings","compared":true,"missing":["x"]}`:                              `guid "x"`,
		`{"type":"loa.holdings","holds":[{"guid":"c","version":0,"status":"live"}]}`:           "version 0",
		`{"type":"loa.holdings","holds":[{"guid":"c","version":1,"status":"shown"}]}`:          `status "shown"`,
		`{"type":"loa.holdings","holds":[` + many(events.MaxHoldings) + `],"up_to":"c399"}`:    "",
		`{"type":"loa.holdings","holds":[` + many(events.MaxHoldings) + `],"up_to":"c100"}`:    `guid "c101"`,
		`{"type":"loa.holdings","holds":[` + many(events.MaxHoldings) + `],"up_to":"e"}`:       `up_to "e"`,
		`{"type":"loa.holdings","holds":[` + entry("c") + `],"up_to":"c"}`:                     "only where there are more",
		`{"type":"loa.holdings","holds":[`:                                                     "parse holdings",
		strings.Repeat(" ", events.MaxBulletinBytes+1):                                         "expected at most",
		"": "not the answer", "OK": "not the answer", `{"ok":true}`: "not the answer", `[]`: "not the answer", `{"type":7}`: "not the answer",
	} {
		_, err := events.ParseHoldings([]byte(answer), page)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) || errors.Is(err, events.ErrNoHoldings) != (want == "not the answer") {
			t.Errorf("%.90s: %v, expected %q", answer, err, want)
		}
	}
}

func TestManifestsAreAnsweredByWhoeverCanCompare(t *testing.T) {
	secret := events.NewSecret()
	v, err := events.NewVerifier(secret)
	if err != nil {
		t.Fatal(err)
	}
	parse := func(_ string, body []byte) ([]events.Bulletin, error) { return events.ParseBulletins(body) }
	receive := func(context.Context, events.Bulletin) error { return nil }
	var fault error
	list := func(_ context.Context, after, upTo string, most int) ([]events.ManifestEntry, error) {
		if after != "a" || upTo != "z" {
			t.Errorf("asked for what is after %q and up to %q", after, upTo)
		}
		all := make([]events.ManifestEntry, most)
		all[most-1].GUID = "m"
		return all, fault
	}
	body, err := json.Marshal(events.Manifest{Type: events.BulletinManifest, Timestamp: time.Now(), Data: events.ManifestPage{Page: 1, After: "a", UpTo: "z"}})
	if err != nil {
		t.Fatal(err)
	}
	post := func(h http.Handler, secret string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
		r.Header = signedHeader(t, "msg_1", time.Now(), body, secret)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	if w := post(events.HandlerFor(v, parse, receive), secret); w.Code != 204 || w.Body.Len() > 0 {
		t.Errorf("one that cannot compare answers %d %s", w.Code, w.Body)
	}
	comparing := events.ComparingHandler(v, parse, receive, list)
	if w := post(comparing, secret); w.Code != 200 || w.Header().Get("Content-Type") != events.JSONType || !strings.Contains(w.Body.String(), `"up_to":"m"`) {
		t.Errorf("answers %d %.200s", w.Code, w.Body)
	}
	if w := post(comparing, events.NewSecret()); w.Code != 401 {
		t.Errorf("whoever asks is answered %d %.200s", w.Code, w.Body)
	}
	fault = errors.New("database away")
	if w := post(comparing, secret); w.Code != 500 || strings.Contains(w.Body.String(), "database") {
		t.Errorf("answers %d %.200s", w.Code, w.Body)
	}
}

func FuzzHoldings(f *testing.F) {
	page := events.ManifestPage{After: "b", UpTo: "d"}
	f.Add([]byte(`{"type":"loa.holdings","holds":[{"guid":"c","version":1,"status":"live"}],"compared":true,"missing":["cc"],"up_to":"d"}`))
	f.Add([]byte(`{"type":"loa.holdings","holds":[`))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := events.ParseHoldings(data, page)
		if err != nil {
			return
		}
		for _, e := range h.Holds {
			if !page.Includes(e.GUID) || e.Version < 1 {
				t.Fatalf("taken: %+v", e)
			}
		}
	})
}
