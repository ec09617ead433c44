package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestPortalsAreAppliedFromAFile(t *testing.T) {
	t.Parallel()
	c := newCity(t)
	c.serve()
	file := c.write("portals.yaml", `portals:
  - {name: quan-a, url: "https://a.example/loa", filter: {languages: [vi], not: {tags: [nội bộ]}}}
  - {name: quan-b, url: "https://b.example/loa", rate: 5/s}
`)
	for _, l := range []struct {
		args, want string
		secrets    int
	}{
		{"--dry-run", "2 of 2 portals would change", 0},
		{"--dry-run", "filter.not.tags: none → nội bộ", 0},
		{"", "2 of 2 portals changed", 2},
		{"", "Nothing to do", 0},
	} {
		// Not through the city, which wants no output to have a secret in it.
		var out bytes.Buffer
		status := run(&env{t.Context(), &out, &out}, append([]string{"portals", "apply", "--data", c.data, "-f", file}, strings.Fields(l.args)...))
		if status != 0 || !strings.Contains(out.String(), l.want) {
			t.Fatalf("apply %s: status %d, %s", l.args, status, &out)
		}
		announced := announcedSecret.FindAllString(out.String(), -1)
		if len(announced) != l.secrets {
			t.Errorf("apply %s shows %d secrets, want %d", l.args, len(announced), l.secrets)
		}
		c.secrets = append(c.secrets, announced...)
	}
	file = c.write("portals.yaml", `portals:
  - {name: quan-b, url: "https://b.example/loa", rate: 9/s}
`)
	c.runLines(
		line{"portals apply --data {data} -f " + file, 0, []string{"~ quan-b", "rate: 5 → 9"}},
		line{"portals apply --data {data} --prune -f " + file, 1, []string{"--yes"}},
		line{"portals show --data {data} quan-a", 0, []string{"quan-a"}},
		line{"portals apply --data {data} --prune --yes -f " + file, 0, []string{"- quan-a"}},
		line{"portals show --data {data} quan-a", 1, []string{"quan-a"}},
	)
	bad := c.write("bad.yaml", "portals:\n  - {name: quan-c, url: \"https://c.example/\"}\n  - {name: quan-d, url: \"ftp://d.example/\", rate: nhanh}\n")
	c.runLines(
		line{"portals apply --data {data} -f " + bad, 1, []string{"bad.yaml:3:", "portals[1].url", "portals[1].rate"}},
		line{"portals show --data {data} quan-c", 1, []string{"quan-c"}}, // all or nothing
		line{"portals apply --data {data} -f " + c.write("more.yaml", "portals: []\nsites: []\n"), 1, []string{"sites", "nothing but portals"}},
	)
}

func TestAPortalIsSentAgainWhatItHadAcknowledged(t *testing.T) {
	t.Parallel()
	p := &partner{name: "tot"}
	c := newCity(t, p)
	c.serve()
	s := c.session()
	c.publishOne("mot", "")
	c.publishOne("hai", "")
	c.level(s)
	before := p.receiver.Counts()
	c.runLines(
		line{"portals replay --data {data} tot --since 1h --dry-run", 0, []string{"2 of 2 articles would be sent again"}},
		line{"portals replay --data {data} tot --since 01/01/2100", 0, []string{"0 of 0 articles"}},
		line{"portals replay --data {data} khong-co --since 1h", 1, []string{"khong-co"}},
		line{"portals replay --data {data} tot --since 1h --json", 0, []string{`"again":2`}},
	)
	waitFor(t, "both articles to come again", func() bool {
		now := p.receiver.Counts()
		return now.Duplicates == before.Duplicates+2
	})
	c.level(s)
	if now := p.receiver.Counts(); now.Kept != before.Kept || now.Regressions != 0 {
		t.Errorf("the portal counts %+v, before %+v", now, before)
	}
}
