package portal_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/portal"
)

func TestChangesAreRecorded(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := open(t, loatest.NATS(t))
	secret := portal.Secret(events.NewSecret())
	p, err := r.Put(ctx, portal.Portal{Name: "east", URL: "https://east.example/loa?key=khoa-rieng", Secrets: []portal.Secret{secret},
		Headers: map[string]portal.Secret{"X-Token": "ma-rieng"}}, "Lan")
	if err != nil {
		t.Fatal(err)
	}
	stale := p
	p.Filter.Urgency, p.Headers = 3, map[string]portal.Secret{"X-Token": "ma-khac"}
	if p, err = r.Put(ctx, p, "Minh"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Put(ctx, stale, "Hoa"); !errors.Is(err, portal.ErrConflict) {
		t.Fatalf("got %v", err)
	}
	p.Secrets = []portal.Secret{portal.Secret(events.NewSecret()), secret}
	if _, err = r.Put(ctx, p, "Minh"); err != nil {
		t.Fatal(err)
	}
	if err := r.Pause(ctx, "east", "Lan", "bảo trì"); err != nil {
		t.Fatal(err)
	}
	if err := r.Pause(ctx, "east", "Hoa", "khác"); err != nil { // changes nothing
		t.Fatal(err)
	}
	if err := r.Resume(ctx, "east", "Lan"); err != nil {
		t.Fatal(err)
	}
	if err := r.Delete(ctx, "east", "Minh"); err != nil {
		t.Fatal(err)
	}

	var did []string
	var all []byte
	for rec, err := range r.History(ctx, "east") {
		if err != nil {
			t.Fatal(err)
		}
		line := rec.By + " " + rec.What
		if rec.Why != "" {
			line += " " + rec.Why
		}
		if rec.What == "changed" {
			for _, d := range rec.Changes {
				line += "; " + d.String()
			}
		}
		did = append(did, line)
		data, err := json.Marshal(rec)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, data...)
	}
	want := "Lan added, Minh changed; filter.urgency: none → 3; headers.X-Token: [secret] changed, Minh rotated, Lan paused bảo trì, Lan resumed, Minh removed"
	if got := strings.Join(did, ", "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for _, hidden := range []string{secret.Reveal(), "khoa-rieng", "ma-rieng", "ma-khac", "whsec_"} {
		if strings.Contains(string(all), hidden) {
			t.Errorf("the record tells %s", hidden)
		}
	}
	for rec, err := range r.History(ctx, "khong-co") {
		t.Errorf("%+v, %v", rec, err)
	}
}
