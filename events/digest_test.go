package events_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/loa-syndication/loa/events"
)

// digest is one of an article that is live and one that is withdrawn.
func digest() events.Digest {
	all := goldens()
	live, gone := all["bulletin-published"], all["bulletin-withdrawn"]
	gone.Data.GUID, gone.Data.ID = "urn:uuid:7b0c4c52-6a3f-5a6d-9d0b-2f0f5f0f9a22", "2026-1150"
	return events.Digest{Type: events.BulletinDigest, Timestamp: live.Timestamp,
		Data: events.DigestData{Articles: []events.BulletinArticle{live.Data, gone.Data}, More: 3}}
}

func TestADigestIsTakenApart(t *testing.T) {
	body, err := json.Marshal(digest())
	if err != nil {
		t.Fatal(err)
	}
	if err := compiler(t).MustCompile(schemaBase + events.DigestSchema).Validate(jsonOf(t, digest())); err != nil {
		t.Error(err)
	}
	secret := events.NewSecret()
	v, err := events.NewVerifier(secret)
	if err != nil {
		t.Fatal(err)
	}
	var types, ids []string
	full := false
	h := events.Handler(v, func(ctx context.Context, b events.Bulletin) error {
		if full {
			return errors.New("disk full")
		}
		types, ids = append(types, b.Type+" "+b.Data.ID), append(ids, events.DeliveryID(ctx))
		full = len(types) == 1
		return nil
	})
	post := func() int {
		r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
		r.Header = signedHeader(t, "msg_1", time.Now(), body, secret)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	if code := post(); code != http.StatusInternalServerError {
		t.Errorf("a digest of which half was kept is answered %d", code)
	}
	full, types, ids = false, []string{"", ""}, nil
	if code := post(); code != http.StatusNoContent {
		t.Errorf("answered %d", code)
	}
	want := []string{"article.published " + digest().Data.Articles[0].ID, "article.withdrawn 2026-1150"}
	if !slices.Equal(types[2:], want) || !slices.Equal(ids, []string{"msg_1.0", "msg_1.1"}) {
		t.Errorf("received %q as %q", types, ids)
	}
}

func TestWhatIsNoDigest(t *testing.T) {
	for _, bad := range []string{``, `[]`, `{}`, `{"type":"article.published"}`, `{"type":"loa.digest","data":{"articles":[],"more":0}}`,
		`{"type":"loa.digest","data":{"articles":[{"guid":"g","version":1},{"guid":"h"}]}}`} {
		if d, err := events.ParseDigest([]byte(bad)); err == nil {
			t.Errorf("%s is taken for %+v", bad, d)
		}
	}
	d, err := events.ParseDigest([]byte(`{"type":"loa.digest","data":{"articles":[{"guid":"g","version":1,"new":1}],"later":{}}}`))
	if err != nil || d.Data.Articles[0].GUID != "g" {
		t.Errorf("unknown fields: %+v, %v", d, err)
	}
}
