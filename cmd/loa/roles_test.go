package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/embedded"
	"github.com/loa-syndication/loa/internal/sample"
	"github.com/loa-syndication/loa/internal/streams"
)

// With NATS and S3 servers elsewhere, each part of Loa may be a process of its own: together
// they are one Loa.
func TestRolesInProcessesOfTheirOwn(t *testing.T) {
	t.Parallel()
	p := &partner{name: "tat-ca"}
	c := newCity(t, p)
	s3, _ := externalS3(t, c)
	server, err := embedded.StartNATS(t.Context(), embedded.NATSOptions{Dir: filepath.Join(c.data, "nats"), Listen: c.nats})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	login := server.Credentials().Loa
	password := filepath.Join(c.dir, "nats.password")
	if err := os.WriteFile(password, []byte(login.Secret.Reveal()), 0o600); err != nil {
		t.Fatal(err)
	}
	start := func(roles string) *process {
		c.serve("--roles", roles, "--data", filepath.Join(c.dir, roles), "--nats", server.ClientURL(),
			"--nats-user", login.Name, "--nats-password-file", password, "--s3", s3.url)
		return c.loa
	}
	// In the order of the way back: what comes first waits for those behind it.
	processes := []*process{start("intake"), start("feeds,bulletins,hub"), start("gateway")}

	url := server.ClientURL()
	s := c.sessionWith(client{NATS: &url, NATSUser: &login.Name, NATSPasswordFile: &password})
	said := newLedger()
	articles := sample.Articles(c.pictures)[:3]
	for i := range articles {
		articles[i].Images = []events.Image{{URL: c.pictures + "/photo/7.jpg", Role: events.RoleLead}}
		publish(t, c.cms(), []events.Event{events.NewPublished(source, articles[i])}, 0, said)
	}
	c.level(s)
	want := said.wanted()
	c.logAgrees(s, want)
	c.noDeadLetters(s)
	c.feedsAgree(want)
	c.portalsAgree(want)
	if h, ok := p.receiver.Get(want[streams.KeyOf(articles[0].Site, articles[0].ID)].guid); !ok || h.Bulletin.Data.Image == nil {
		t.Error("the bulletin has no picture")
	} else if _, err := fetch(t.Context(), h.Bulletin.Data.Image.URL); err != nil {
		t.Errorf("the bulletin's picture: %v", err)
	}
	for _, p := range processes {
		p.terminate(t, grace)
	}
}
