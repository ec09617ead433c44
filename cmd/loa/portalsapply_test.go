package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/loa-syndication/loa/internal/sample"
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
		line{"portals apply --data {data} --prune -f " + file, 1, []string{"quan-a would be removed", "--yes"}},
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

// What is applied holds at once for what runs. An article that a portal had goes on to it, though
// its filter does not select it any more.
func TestPortalsAreNotSentTheOldArticlesOfAnImport(t *testing.T) {
	t.Parallel()
	p := startPartner(t, t.TempDir(), &partner{name: "moi"})
	c := newCity(t)
	c.serve()
	s := c.session()
	apply := func(filter string) line {
		return line{"portals apply --data {data} -f " + c.write("moi"+strconv.Itoa(len(filter))+".yaml", "portals:\n  - {name: moi, url: \""+p.url()+
			"\", secret_file: "+p.secretFile+", allow: [127.0.0.0/8], filter: {"+filter+"}}\n"), 0, []string{"moi"}}
	}
	if err := os.Mkdir(filepath.Join(c.dir, "kho"), 0o700); err != nil {
		t.Fatal(err)
	}
	dated := func(id, day, text string) {
		c.write("kho/"+id+".md", "---\ntitle: Tin "+id+"\ndate: "+day+"\n---\n"+text+"\n")
	}
	imported := func(want string, held ...string) {
		t.Helper()
		c.runLines(line{"import folder --data {data} --site " + sample.CauGo + " --url https://caugo.anhoa.example/ " + filepath.Join(c.dir, "kho"), 0, []string{want}})
		c.level(s)
		var got []string
		for _, h := range p.receiver.Held() {
			got = append(got, h.Bulletin.Data.ID+" "+strconv.FormatInt(h.Bulletin.Data.Version, 10))
		}
		slices.Sort(got)
		if !slices.Equal(got, held) {
			t.Errorf("the portal holds %q, want %q", got, held)
		}
	}
	c.runLines(apply(""))
	dated("xua", "2020-05-17", "Tin xưa.")
	imported("1 imported", "xua 1")
	c.runLines(apply("since: 2026-11-01"), line{"portals show --data {data} moi", 0, []string{"since     01/11/2026"}})
	for _, year := range []string{"2018", "2019", "2021"} {
		dated("cu-"+year, year+"-05-17", "Tin cũ.")
	}
	dated("moi", "2026-11-01", "Tin mới.")
	dated("xua", "2020-05-17", "Tin xưa, sửa lại.")
	imported("4 imported, 1 updated", "moi 1", "xua 2") // it goes on with what it has
	c.runLines(line{"resync --data {data} --portal moi", 0, []string{"5 articles compared"}})
	imported("5 unchanged", "moi 1", "xua 2")
	c.runLines(line{"portals add --data {data} --url " + p.url() + " --since 2026-11-01 khac", 1, []string{"--since", "dd/mm/yyyy"}})
}

func TestFiltersAreChangedWhileLoaRuns(t *testing.T) {
	t.Parallel()
	p := startPartner(t, t.TempDir(), &partner{name: "moi"})
	c := newCity(t)
	c.serve()
	s := c.session()
	c.publishOne("mot", "")
	c.level(s)
	apply := func(filter, more string) string {
		file := c.write("loc"+strconv.Itoa(len(filter))+".yaml", "portals:\n  - {name: moi, url: \""+p.url()+"\", secret_file: "+p.secretFile+
			", allow: [127.0.0.0/8], filter: {"+filter+"}}\n")
		return "portals apply --data {data} -f " + file + more
	}
	held := func(want string) {
		t.Helper()
		c.level(s)
		var ids []string
		for _, h := range p.receiver.Held() {
			d := h.Bulletin.Data
			ids = append(ids, d.ID+" "+strconv.FormatInt(d.Version, 10)+" "+d.Status)
		}
		slices.Sort(ids)
		if got := strings.Join(ids, ", "); got != want {
			t.Errorf("the portal holds %q, want %q", got, want)
		}
	}
	c.runLines(line{apply("", ""), 0, []string{"+ moi"}})
	c.publishOne("hai", "")
	held("hai 1 live") // from now on
	c.runLines(line{apply("tags: [khac]", ""), 0, []string{"~ moi", "filter.tags: none → khac", "loa resync --portal moi"}})
	c.publishOne("ba", "")
	c.publishOne("hai", "version: 2\n")
	held("hai 2 live")
	c.runLines(line{apply("not: {tags: [khac]}", " --from all"), 0, []string{"~ moi", "3 articles of the log"}})
	held("ba 1 live, hai 2 live, mot 1 live")
	c.runLines(
		line{apply("tags: [khac]", ""), 0, []string{"~ moi"}},
		line{"withdraw --data {data} " + sample.CauGo + "/ba --reason sai", 0, nil},
	)
	held("ba 2 withdrawn, hai 2 live, mot 1 live")
	c.runLines(line{"portals apply --data {data} --from mai -f " + c.write("rong.yaml", "portals: []\n"), 1, []string{"--from", "dd/mm/yyyy"}})
}
