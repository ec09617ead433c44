package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/sample"
)

// line is a command line and what is to come of it.
type line struct {
	args   string // separated by spaces; {data} is the data directory
	status int
	want   []string // on standard output, or, with another status than 0, on standard error
}

// runLines runs command lines, each after the other.
func (c *city) runLines(lines ...line) {
	c.t.Helper()
	for _, l := range lines {
		status, out, faults := c.command(strings.Fields(strings.ReplaceAll(l.args, "{data}", c.data))...)
		text := out
		if l.status != 0 {
			text = faults
		}
		if status != l.status {
			c.t.Errorf("loa %s: status %d, want %d\n%s%s", l.args, status, l.status, out, faults)
		}
		for _, want := range l.want {
			if !strings.Contains(text, want) {
				c.t.Errorf("loa %s: want %q in\n%s%s", l.args, want, out, faults)
			}
		}
	}
}

// write writes a file into the city's directory, and gives its name.
func (c *city) write(name, text string) string {
	c.t.Helper()
	file := filepath.Join(c.dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
	return file
}

func TestCommandsWithoutALoa(t *testing.T) {
	t.Parallel()
	c := newCity(t)
	c.runLines(
		line{"version", 0, []string{"loa ", "go1."}},
		line{"version --json", 0, []string{`"version":"`}},
		line{"", 0, []string{"Usage: loa", "serve", "loa config example"}},
		line{"--help", 0, []string{"Usage: loa"}},
		line{"portals add --help", 0, []string{"--secret-file", "--from"}},
		line{"serv", 2, []string{"loa: ", "serv", "loa --help"}},
		line{"portals", 2, []string{"expected one of"}},
		line{"serve --no-such-flag", 2, []string{"no-such-flag"}},
		line{"config check " + filepath.Join(c.dir, "none.yaml"), 2, []string{"none.yaml"}},
		line{"portals ls --data " + c.dir + "/none", 1, []string{"nothing has run on", "loa serve", "--data"}},
		line{"article show a/b --data " + c.dir + "/none", 1, []string{"nothing has run on"}},
	)

	_, example, _ := c.command("config", "example")
	c.runLines(line{"config check " + c.write("example.yaml", example), 0, []string{"is right", "3 sites"}})
	bad := c.write("bad.yaml", "sites:\n  - {id: an-hoa, name: An Hòa, url: \"https://anhoa.example/\"}\nportals:\n  - name: bao\n    url: bao.example\n    secret: whsec_khongphaibimat\n    tiemout: 3s\n")
	c.runLines(line{"config check " + bad, 1, []string{"bad.yaml:5", "url: bao.example", "https://", "bad.yaml:7", "timeout"}})
	c.secrets = append(c.secrets, "khongphaibimat")
	c.runLines(line{"serve --config " + bad, 1, []string{"bad.yaml:5"}})
}

func TestCommands(t *testing.T) {
	t.Parallel()
	p := &partner{name: "ben-song", filter: portal.Filter{Sites: []string{sample.BenSong}}}
	late := &partner{name: "den-sau"}
	c := newCity(t, p)
	startPartner(t, c.dir, late) // loa does not know it yet
	c.secrets = append(c.secrets, late.secret)
	c.serve("--log-level", "debug")
	s := c.session()

	if err := os.WriteFile(filepath.Join(c.dir, "anh.jpg"), sample.Photo(3, 640, 400), 0o600); err != nil {
		t.Fatal(err)
	}
	markdown := func(body string) string {
		return c.write("tin.md", "---\nsite: phuong-cau-go\nid: tin-1\nurl: https://caugo.anhoa.example/tin-1\ntitle: Lịch cắt nước\n"+
			"categories: [{id: thong-bao, label: Thông báo}]\nimages: [{file: anh.jpg, alt: Đường ống}]\n---\n"+body+"\n\n![Đường ống](anh.jpg)\n")
	}
	html := c.write("tin.html", "---\nsite: quan-ben-song\nid: tin-2\nurl: https://bensong.anhoa.example/tin-2\ntitle: Họp tổ dân phố\n---\n<p>Bảy giờ tối thứ Bảy.</p>\n")
	c.runLines(
		line{"publish --data {data} " + markdown("Công ty **cấp nước** thông báo."), 0, []string{"phuong-cau-go/tin-1 version 1: in the log as version 1"}},
		line{"publish --data {data} " + html, 0, []string{"quan-ben-song/tin-2 version 1"}},
		line{"publish --data {data} " + markdown("Công ty cấp nước thông báo lại."), 0, []string{"version 2: in the log as version 2"}},
		line{"article show --data {data} phuong-cau-go/tin-1", 0, []string{"Lịch cắt nước", "version 2, live", "640 × 400", "urn:uuid:"}},
		line{"article show --data {data} --json phuong-cau-go/tin-1", 0, []string{`"version":2`, `"sha256":"`}},
		line{"article show --data {data} phuong-cau-go/khong-co", 1, []string{"no article phuong-cau-go/khong-co", "loa dead ls"}},
		line{"article show --data {data} tin-1", 1, []string{"expected SITE/ID"}},
		line{"withdraw --data {data} phuong-cau-go/khong-co --reason x", 1, []string{"no article", "--version"}},
	)
	c.level(s) // of what is withdrawn before it was delivered, nobody is told
	c.runLines(
		line{"withdraw --data {data} quan-ben-song/tin-2", 2, []string{"--reason"}},
		line{"withdraw --data {data} quan-ben-song/tin-2 --reason Hoãn", 0, []string{"quan-ben-song/tin-2 version 2: in the log"}},
		line{"article show --data {data} quan-ben-song/tin-2", 0, []string{"withdrawn", "Hoãn"}},
	)
	c.level(s)
	if h := p.receiver.Held(); len(h) != 2 {
		t.Errorf("the portal holds %d articles, want 2", len(h))
	}
	c.publishJSON()
	c.commandsOfPortals(s, p, late)
	c.commandsOfDeadLetters()
	c.commandsOfImports()
	c.commandsOfKeys()

	status, _, faults := c.command("serve", "--config", c.config)
	if status != 1 || !strings.Contains(faults, "--listen") {
		t.Errorf("a second loa serve on the same address: status %d, %s", status, faults)
	}
	status, _, faults = c.command("serve", "--config", c.config, "--listen", "127.0.0.1:0")
	if status != 1 || !strings.Contains(faults, "in use: stop the process that uses it") {
		t.Errorf("a second loa serve on the same data: status %d, %s", status, faults)
	}
	c.loa.terminate(t, grace)
	c.runLines(line{"portals ls --data {data}", 1, []string{"is Loa running?"}})
}

// commandsOfImports imports a folder and a feed, again and again.
func (c *city) commandsOfImports() {
	c.t.Helper()
	c.write("cu.html", `<html><head><meta property="article:published_time" content="05/11/2026 | 09:30"></head><body><h1>Thông báo cũ</h1><p>Nội dung.</p></body></html>`)
	folder := filepath.Join(c.dir, "luu")
	if err := os.Mkdir(folder, 0o700); err != nil {
		c.t.Fatal(err)
	}
	for _, name := range []string{"cu.html", "tin.md"} {
		if err := os.Rename(filepath.Join(c.dir, name), filepath.Join(folder, name)); err != nil {
			c.t.Fatal(err)
		}
	}
	portal := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `<rss version="2.0"><channel><title>x</title><item><title>Tin cũ</title><link>/tin/7</link><guid>tin-7</guid><pubDate>Thứ ba, 03/11/2026 08:11</pubDate></item>
<item><title>Không ngày</title><link>/tin/8</link><guid>tin-8</guid><pubDate>hôm qua</pubDate></item></channel></rss>`)
	}))
	c.t.Cleanup(portal.Close)
	into := " --data {data} --site phuong-cau-go "
	feed := "import feed " + portal.URL + into
	c.runLines(
		line{"import folder " + folder + into + "--url https://caugo.anhoa.example/ --dry-run", 3, nil},
		line{"import folder " + folder + into + "--url https://caugo.anhoa.example/ --json", 3, nil},
		line{feed, 3, []string{"2 items"}},
		line{"import feed ftp://caugo.example" + into, 1, []string{"http or https required"}},
		line{"import wordpress " + portal.URL + into, 1, []string{"find the REST API of WordPress"}},
		line{"import feed " + portal.URL + " --data {data} --site khong-co", 1, []string{`"khong-co" is not one of the sites`}},
		line{"import feed " + portal.URL + into + "--every 1s", 1, []string{"at least 1m"}},
	)
	status, out, _ := c.command(strings.Fields(strings.ReplaceAll(feed, "{data}", c.data))...)
	if status != 3 || !strings.Contains(out, "1 unchanged, 1 set aside") || !strings.Contains(out, "/tin/8: time \"hôm qua\"") {
		c.t.Errorf("the feed imported again: status %d\n%s", status, out)
	}
	c.runLines(line{"article show --data {data} phuong-cau-go/cu", 0, []string{"Thông báo cũ", "05/11/2026 09:30"}})
}

// publishJSON publishes events as files, right and wrong.
func (c *city) publishJSON() {
	c.t.Helper()
	event := func(name string, change func(*events.Article)) string {
		a := sample.Articles(c.pictures)[1]
		a.Images = nil
		change(&a)
		data, err := json.Marshal(events.NewPublished(source, a))
		if err != nil {
			c.t.Fatal(err)
		}
		return c.write(name, string(data))
	}
	article := sample.Articles("")[1]
	c.runLines(
		line{"publish --data {data} --json " + event("right.json", func(*events.Article) {}), 0, []string{`"outcome":"in the log as version 1"`, `"duplicate":false`}},
		line{"publish --data {data} --json " + filepath.Join(c.dir, "right.json"), 0, []string{`"duplicate":true`}},
		line{"publish --data {data} " + event("wrong.json", func(a *events.Article) { a.URL, a.Version = "tin/1", -1 }), 1, []string{"wrong.json", "/data/url", "/data/version"}},
		line{"publish --data {data} " + event("other.json", func(a *events.Article) { a.Title = "Khác" }), 1, []string{"dead letter", "/data/version", "other content"}},
		line{"publish --data {data} " + event("stranger.json", func(a *events.Article) { a.Site = "khong-co" }), 1, []string{"dead letter", "configured sites"}},
		line{"publish --data {data} " + c.write("broken.md", "---\nsite: [\n---\nx\n"), 1, []string{"broken.md"}},
		line{"publish --data {data} " + c.write("lost.md", "---\nsite: phuong-cau-go\nid: x\nurl: https://x.example/\ntitle: X\nimages: [{file: khong-co.jpg}]\n---\nx\n"), 1, []string{"khong-co.jpg"}},
		line{"publish --data {data} " + filepath.Join(c.dir, "none.json"), 2, []string{"none.json"}},
		line{"article show --data {data} " + article.Site + "/" + article.ID, 0, []string{article.Title}},
	)
}

var announcedSecret = regexp.MustCompile(`whsec_\S+`)

func (c *city) commandsOfPortals(s *session, p, late *partner) {
	t := c.t
	t.Helper()
	add := "portals add --data {data} den-sau --url " + late.url() + " --allow 127.0.0.0/8 --secret-file " + late.secretFile
	c.runLines(
		line{"portals ls --data {data}", 0, []string{"ben-song", "up", p.url()}},
		line{"portals show --data {data} khong-co", 1, []string{"khong-co", "loa portals ls"}},
		line{"portals pause --data {data} khong-co --why x", 1, []string{"khong-co", "loa portals ls"}},
		line{"portals pause --data {data} ben-song", 2, []string{"--why"}},
		line{add + " --from hôm-qua", 1, []string{"dd/mm/yyyy"}},
		line{"portals add --data {data} Cổng --url https://x.example/", 1, []string{"Cổng"}},
		line{"portals add --data {data} xa --url ftp://x.example/", 1, []string{"ftp://x.example/"}},
		line{add + " --from all", 0, []string{"Added portal den-sau", "2 articles of the log"}},
	)
	c.level(s)
	if n := len(late.receiver.Held()); n != 2 {
		t.Errorf("the new portal holds %d articles, want the 2 live ones of the log", n)
	}

	c.runLines(
		line{"portals pause --data {data} den-sau --why bảo-trì", 0, []string{"Paused den-sau"}},
		line{"publish --data {data} " + c.write("cho.md", "---\nsite: phuong-cau-go\nid: cho\nurl: https://caugo.anhoa.example/cho\ntitle: Chờ\n---\nChờ.\n"), 0, nil},
	)
	waitFor(t, "the article to wait for the paused portal", func() bool {
		_, out, _ := c.command("portals", "show", "--data", c.data, "--json", "den-sau")
		var v portalView
		return json.Unmarshal([]byte(out), &v) == nil && v.State == "paused" && v.Waiting == 1
	})
	if n := len(late.receiver.Held()); n != 2 {
		t.Errorf("the paused portal holds %d articles, want 2", n)
	}
	c.runLines(
		line{"portals show --data {data} den-sau", 0, []string{"paused", "bảo-trì", "waiting   1"}},
		line{"portals resume --data {data} den-sau", 0, []string{"Resumed den-sau"}},
	)
	c.level(s)
	if n := len(late.receiver.Held()); n != 3 {
		t.Errorf("the resumed portal holds %d articles, want 3", n)
	}

	// Its secret is printed when it is made, and never again.
	var out bytes.Buffer
	if status := run(&env{t.Context(), &out, &out}, []string{"portals", "add", "--data", c.data, "moi", "--url", "https://moi.example/loa"}); status != 0 {
		t.Errorf("portals add: status %d, %s", status, out.String())
	}
	if secret := announcedSecret.FindString(out.String()); secret == "" {
		t.Errorf("no secret in %q", out.String())
	} else {
		c.secrets = append(c.secrets, secret)
	}
	c.runLines(
		line{"portals show --data {data} --json moi", 0, []string{`"name":"moi"`}},
		line{"portals rm --data {data} moi", 2, []string{"--yes"}},
		line{"portals rm --data {data} moi --yes", 0, []string{"Removed moi"}},
		line{"portals show --data {data} moi", 1, []string{"moi"}},
	)
}

var announcedKey = regexp.MustCompile(`loa_([a-z2-7]{12})_([a-z2-7]{52})`)

func (c *city) commandsOfKeys() {
	c.t.Helper()
	c.runLines(
		line{"keys ls --data {data}", 0, []string{"No keys", "loa keys add"}},
		line{"keys add --data {data} Báo --sites khong-co", 1, []string{"khong-co", "phuong-cau-go"}},
		line{"keys add --data {data} CMS --kind cms", 1, []string{"sites: missing"}},
		line{"keys show --data {data} khong-co", 1, []string{"khong-co", "loa keys ls"}},
	)
	// A key is printed when it is made, and never again.
	var out bytes.Buffer
	run(&env{c.t.Context(), &out, &out}, []string{"keys", "add", "--data", c.data, "Báo An Hòa", "--sites", "quan-ben-song", "--rate", "600/m"})
	text := announcedKey.FindStringSubmatch(out.String())
	if text == nil {
		c.t.Fatalf("no key in %q", out.String())
	}
	c.secrets = append(c.secrets, text[2])
	c.runLines(
		line{"keys ls --data {data}", 0, []string{text[1], "Báo An Hòa", "quan-ben-song", "summary", "10/s"}},
		line{"keys show --data {data} " + text[1], 0, []string{"last used never"}},
		line{"keys revoke --data {data} " + text[1], 0, []string{"Revoked key " + text[1]}},
		line{"keys ls --data {data}", 0, []string{"No keys"}},
		line{"keys ls --data {data} --all --json", 0, []string{text[1], `"revoked":{"at":"`}},
	)
}

func (c *city) commandsOfDeadLetters() {
	t := c.t
	t.Helper()
	var numbers []uint64
	list := func() (letters []struct {
		Number uint64
		Stage  string
		Reason string
	}) {
		_, out, _ := c.command("dead", "ls", "--json", "--data", c.data)
		for row := range strings.Lines(out) {
			letters = append(letters, struct {
				Number uint64
				Stage  string
				Reason string
			}{})
			if err := json.Unmarshal([]byte(row), &letters[len(letters)-1]); err != nil {
				t.Fatal(err)
			}
		}
		return letters
	}
	for _, l := range list() {
		numbers = append(numbers, l.Number)
	}
	if len(numbers) != 2 {
		t.Fatalf("%d dead letters, want the 2 that were published", len(numbers))
	}
	c.runLines(
		line{"dead ls --data {data}", 0, []string{"intake", "configured sites", "loa dead retry"}},
		line{"dead ls --data {data} --stage portal", 0, []string{"No dead letters."}},
		line{fmt.Sprintf("dead show --data {data} %d", numbers[1]), 0, []string{"reason", "configured sites", "--raw"}},
		line{fmt.Sprintf("dead show --data {data} --raw %d", numbers[1]), 0, []string{`"site":"khong-co"`}},
		line{"dead show --data {data} 999", 1, []string{"999", "loa dead ls"}},
		line{"dead retry --data {data}", 1, []string{"--all"}},
		line{"dead retry --data {data} 999", 1, []string{"999", "loa dead ls"}},
		line{fmt.Sprintf("dead retry --data {data} %d", numbers[1]), 0, []string{"1 retried."}},
	)
	waitFor(t, "the retried event to be set aside again", func() bool {
		l := list()
		return len(l) == 2 && l[1].Number > numbers[1]
	})
	c.runLines(
		line{fmt.Sprintf("dead drop --data {data} %d", numbers[0]), 0, []string{"1 removed."}},
		line{"dead drop --data {data} 999", 1, []string{"999", "loa dead ls"}},
		line{"dead drop --data {data} --reason x 999", 1, []string{"either the numbers"}},
		line{"dead ls --data {data} --since soon", 1, []string{"--since", "soon"}},
		line{"dead ls --data {data} --stage intake --portal east", 1, []string{"--portal", "stage portal"}},
		line{"dead ls --data {data} --portal east", 0, []string{"No dead letters."}},
		line{"dead ls --data {data} --before 1h", 0, []string{"No dead letters."}},
		line{"dead ls --data {data} --site khong-co --since 1h --reason CONFIGURED", 0, []string{"intake"}},
		line{"dead drop --data {data} --site an-hoa --yes", 0, []string{"0 removed."}},
		line{"dead drop --data {data} --stage intake", 0, []string{"1 would be removed", "--yes"}},
		line{"dead drop --data {data} --all --stage intake --yes", 0, []string{"1 removed."}},
		line{"dead ls --data {data}", 0, []string{"No dead letters."}},
	)
}

// The sample portal runs until it is told to end.
func TestReceive(t *testing.T) {
	t.Parallel()
	c := newCity(t)
	ctx, end := context.WithCancel(t.Context())
	secret := filepath.Join(c.dir, "thu.secret")
	out := &transcript{name: "loa receive"}
	c.printed = append(c.printed, out)
	status := make(chan int)
	go func() {
		status <- run(&env{ctx, out, out}, []string{"receive", "--listen", "127.0.0.1:0", "--secret-file", secret, "--dir", filepath.Join(c.dir, "thu")})
	}()
	waitFor(t, "the portal to say where it listens", func() bool { return strings.Contains(out.String(), "look at http://") })
	_, address, _ := strings.Cut(out.String(), "look at ")
	if page, err := fetch(t.Context(), strings.TrimSpace(address)); err != nil || !bytes.Contains(page, []byte("Cổng thử nghiệm")) {
		t.Errorf("the page: %v\n%s", err, page)
	}
	base := strings.TrimSuffix(strings.TrimSpace(address), "/")
	other := filepath.Join(c.dir, "other.secret")
	if err := os.WriteFile(other, []byte(events.NewSecret()), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, l := range []struct {
		line   string
		status int
		want   string
	}{
		{"--secret-file " + secret + " --state " + base + "/bulletins.json", 0, "nothing is wrong"},
		{"--secret-file " + secret + " --format atom --json", 0, `"check":"withdrawal","level":"MUST"`},
		{"--secret-file " + other, 1, "FAILED   MUST    good-signature"},
		{"--secret-file " + other + ".none", 1, "no such file"},
		{"", 1, "--check needs --secret-file"},
	} {
		said := &transcript{name: "loa receive --check " + l.line}
		c.printed = append(c.printed, said)
		args := append([]string{"receive", "--check", base + "/bulletins"}, strings.Fields(l.line)...)
		if got := run(&env{t.Context(), said, said}, args); got != l.status || !strings.Contains(said.String(), l.want) {
			t.Errorf("%s: status %d, want %d and %q:\n%s", said.name, got, l.status, l.want, said)
		}
	}
	end()
	if got := <-status; got != 0 {
		t.Errorf("status %d:\n%s", got, out)
	}
	made, err := os.ReadFile(secret)
	if err != nil {
		t.Fatal(err)
	}
	c.secrets = append(c.secrets, strings.TrimSpace(string(made)))
}

// The demo checks all that comes out of it by itself.
func TestDemo(t *testing.T) {
	t.Parallel()
	var out, faults bytes.Buffer
	if status := run(&env{t.Context(), &out, &faults}, []string{"demo", "--once", "--data", t.TempDir()}); status != 0 {
		t.Errorf("status %d:\n%s%s", status, out.String(), faults.String())
	}
	for _, want := range []string{"Ready after", "withdrawn", "agrees with what went in"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("want %q in\n%s", want, out.String())
		}
	}
}
