package portal_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/portal"
)

func TestValidateNamesEveryFault(t *testing.T) {
	t.Parallel()
	secret := portal.Secret(events.NewSecret())
	p := portal.Portal{
		Name: "Quận Đông", Title: "a\nb", URL: "ftp://user:mat-khau@portal.example/?key=khoa-bi-mat",
		Filter:   portal.Filter{Sites: []string{"nowhere"}, Tags: []string{""}, Urgency: 9},
		Secrets:  []portal.Secret{"whsec_mat-khau", secret, secret, secret, secret},
		InFlight: 65, Rate: -1, Timeout: 2 * time.Minute, Allow: []netip.Prefix{{}},
		Headers: map[string]portal.Secret{"webhook-id": "x", "Content-Length": "1", "Bad Name": "x", "X-Key": "mat-khau\r\nX-Other: y"},
	}
	err := p.Validate(sites(t))
	var invalid *portal.InvalidError
	if !errors.As(err, &invalid) {
		t.Fatalf("got %v", err)
	}
	found := map[string]bool{}
	for _, f := range invalid.Faults {
		found[f.Field] = true
		if f.Value == "" || f.Expected == "" {
			t.Errorf("says too little: %+v", f)
		}
	}
	for _, field := range []string{"name", "title", "url", "filter.sites[0]", "filter.tags[0]", "filter.urgency", "secrets",
		"secrets[0]", "secrets[2]", "in_flight", "rate", "timeout", "allow[0]", "headers.webhook-id", "headers.Content-Length",
		"headers.Bad Name", "headers.X-Key"} {
		if !found[field] {
			t.Errorf("%s: no fault", field)
		}
	}
	for _, hidden := range []string{"mat-khau", "khoa-bi-mat", secret.Reveal(), "\n"} {
		if strings.Contains(err.Error(), hidden) {
			t.Errorf("the error tells %q: %v", hidden, err)
		}
	}
}

func TestValidateTakesDefaults(t *testing.T) {
	t.Parallel()
	if err := (portal.Portal{Name: "east", URL: "https://east.example/loa"}).Validate(sites(t)); err != nil {
		t.Error(err)
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	t.Parallel()
	p := portal.Portal{Name: "east", Secrets: []portal.Secret{"whsec_mat-khau"}, Headers: map[string]portal.Secret{"Authorization": "mat-khau"}}
	var log strings.Builder
	logger := zerolog.New(&log)
	logger.Info().Interface("portal", p).Any("secret", p.Secrets[0]).Msg("")
	asJSON, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{log.String(), string(asJSON), fmt.Sprint(p), fmt.Sprintf("%+v %#v %q %x %d", p, p, p.Secrets, p.Secrets, p.Secrets)} {
		if strings.Contains(s, "mat-khau") || strings.Contains(s, fmt.Sprintf("%x", "mat-khau")) {
			t.Errorf("tells a secret: %s", s)
		}
	}
}
