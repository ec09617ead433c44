package config_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/goccy/go-yaml"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/config"
	"github.com/loa-syndication/loa/internal/secret"
)

// write makes a file in a directory of its own, and gives its name.
func write(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// site is the least that a configuration needs.
const site = `
sites:
  - {id: an-hoa, name: Thành phố An Hòa, url: "https://anhoa.example/"}
`

func load(t *testing.T, content string) (*config.Config, []config.Warning) {
	t.Helper()
	c, warnings, err := config.Load(write(t, "loa.yaml", content), config.Overlay{})
	if err != nil {
		t.Fatal(err)
	}
	return c, warnings
}

func TestOnlySitesAreRequired(t *testing.T) {
	c, warnings := load(t, site)
	if len(warnings) > 0 {
		t.Errorf("warnings: %v", warnings)
	}
	if c.Listen != "127.0.0.1:8080" || c.PublicURL != "http://127.0.0.1:8080/" || c.MediaURL != c.PublicURL ||
		c.DataDir != "loa-data" || c.Grace != 20*time.Second || c.S3.Bucket != "loa" || len(c.Roles) != len(config.Roles()) {
		t.Errorf("defaults: %+v", c)
	}
}

func TestEveryKindOfValueIsRead(t *testing.T) {
	c, _ := load(t, `
public_url: https://loa.anhoa.example
grace: 1m30s
roles: [feeds, gateway]
limits: {image_bytes: 1.5 MiB, image_pixels: 12M, events_bytes: 67108864}
media:
  redirect: https://cdn.anhoa.example
  allow: [10.1.0.0/16, 192.168.7.15, "fd00::/8"]
nats:
sites:
  - id: 0042
    name: "Quận \"Bến Sông\""
    url: https://bensong.anhoa.example/
portals:
  - name: cong
    url: https://cong.example/loa
    secret: `+events.NewSecret()+`
    rate: 90/m
    headers:
      X-Unit: an-hoa
    paused: true
`)
	for what, ok := range map[string]bool{
		"the slash after public_url": c.PublicURL == "https://loa.anhoa.example/",
		"media_url":                  c.MediaURL == c.PublicURL,
		"media.redirect":             c.Media.Redirect == "https://cdn.anhoa.example/",
		"grace":                      c.Grace == 90*time.Second,
		"roles":                      slices.Equal(c.Roles, []string{"feeds", "gateway"}),
		"image_bytes":                c.Limits.ImageBytes == 3<<19,
		"image_pixels":               c.Limits.ImagePixels == 12_000_000,
		"events_bytes":               c.Limits.EventsBytes == 64<<20,
		"a network":                  c.Media.Allow[0].String() == "10.1.0.0/16",
		"a single address":           c.Media.Allow[1].String() == "192.168.7.15/32",
		"an empty section":           c.NATS.Listen == "127.0.0.1:4222",
		"an id that looks a number":  c.Sites[0].ID == "0042",
		"a quoted name":              c.Sites[0].Name == `Quận "Bến Sông"`,
		"the title's default":        c.Portals[0].Title == "cong",
		"a rate":                     c.Portals[0].Rate == 1.5,
		"a header":                   c.Portals[0].Headers["X-Unit"].Reveal() == "an-hoa",
		"paused":                     c.Portals[0].Paused,
	} {
		if !ok {
			t.Errorf("%s: %+v", what, c)
		}
	}
}

// TestFaultsNameTheirLine has one fault in the line that ends with "# here".
func TestFaultsNameTheirLine(t *testing.T) {
	const head = site + "log: {level: info}\n"
	portal := "portals:\n  - name: cong\n    url: https://cong.example/\n    secret: " + events.NewSecret() + "\n"
	for name, c := range map[string]struct{ yaml, path, problem string }{
		"unknown key":           {head + "grase: 5s # here", "grase", "unknown key, did you mean grace?"},
		"unknown key, far off":  {head + "portal_list: 5 # here", "portal_list", "unknown key, expected one of data, listen, public_url,"},
		"unknown key below":     {portal + "    time_out: 5s # here" + head, "portals[0].time_out", "did you mean timeout?"},
		"duplicate key":         {head + "log: {} # here", "log", "twice; first in line 4"},
		"duration":              {head + "grace: soon # here", "grace", `found "soon", expected a duration such as 15s`},
		"duration without unit": {head + "grace: 15 # here", "grace", `found "15", expected a duration`},
		"duration too long":     {head + "grace: 15h # here", "grace", "found 15h0m0s, expected 1s to 10m0s"},
		"size":                  {head + "limits:\n  image_bytes: 3 apples # here", "limits.image_bytes", `found "3 apples", expected a size such as 512KiB`},
		"size out of range":     {head + "limits:\n  image_bytes: 1 # here", "limits.image_bytes", "found 1B, expected 64KiB to 256MiB"},
		"count":                 {head + "limits:\n  image_pixels: -1 # here", "limits.image_pixels", "expected a number such as"},
		"whole number":          {head + "feeds:\n  page: many # here", "feeds.page", `found "many", expected a whole number`},
		"true or false":         {portal + "    paused: yes # here" + head, "portals[0].paused", `found "yes", expected true or false`},
		"list":                  {head + "roles: intake # here", "roles", `found "intake", expected a list`},
		"mapping":               {head + "feeds: full # here", "feeds", `found "full", expected indented lines`},
		"text":                  {head + "listen: [a] # here", "listen", "found a list, expected text"},
		"empty list entry":      {head + "roles:\n  - # here\n  - feeds", "roles[0]", "found nothing"},
		"network":               {head + "media:\n  allow: [10.1.2.3/16] # here", "media.allow[0]", "the first address of the range: 10.1.0.0/16"},
		"redirect in a circle":  {head + "public_url: https://a.example/\nmedia:\n  redirect: https://a.example # here", "media.redirect", "another address than public_url"},
		"image side":            {head + "limits:\n  image_side: 10 # here", "limits.image_side", "found 10, expected 1000 to 100000"},
		"image frames":          {head + "limits:\n  image_frames: 0 # here", "limits.image_frames", "found 0, expected 1 to"},
		"image time":            {head + "limits:\n  image_time: 1h # here", "limits.image_time", "found 1h0m0s, expected 1s to 2m0s"},
		"too little to decode":  {head + "limits:\n  image_memory: 512MiB\n  decoding_memory: 128MiB # here", "limits.decoding_memory", "at least image_memory, 512MiB"},
		"attachment":            {head + "limits:\n  attachment_bytes: 1GiB # here", "limits.attachment_bytes", "found 1GiB, expected"},
		"width":                 {head + "media:\n  widths: [320, 9000] # here", "media.widths[1]", "found 9000, expected 16 to 4096"},
		"rendition's format":    {head + "media:\n  formats: [png] # here", "media.formats[0]", `found "png"`},
		"no format":             {head + "media:\n  formats: [] # here", "media.formats", "jpeg, webp or both"},
		"crop":                  {head + "media:\n  crops: [\"4:3\"] # here", "media.crops[0]", `found "4:3", expected one of 1:1, 16:9`},
		"requests to a host":    {head + "media:\n  per_host: 0 # here", "media.per_host", "found 0, expected 1 to 64"},
		"credential's site":     {head + "media:\n  credentials:\n    - {site: \"https://cms.example/anh\", user: a, password: b} # here", "media.credentials[0].site", "without a path"},
		"credential's password": {head + "media:\n  credentials:\n    - {site: \"https://cms.example\", user: loa} # here", "media.credentials[0].password_file", `missing, expected the file that holds the password of "loa"`},
		"picture bucket twice":  {head + "media:\n  buckets:\n    - name: anh-goc\n    - name: anh-goc # here", "media.buckets[1].name", "is there twice"},
		"Loa's own bucket":      {head + "media:\n  buckets:\n    - name: loa # here", "media.buckets[0].name", "Loa's own bucket"},
		"bucket's keys":         {head + "media:\n  buckets:\n    - name: anh-goc\n      url: https://s3.example\n      access_key: a # here", "media.buckets[0].access_key", "or neither"},
		"rate":                  {portal + "    rate: fast # here" + head, "portals[0].rate", "expected a rate such as 20/s"},
		"anchor":                {head + "data: &a b # here", "data", "expected plain YAML"},
		"merge key":             {head + "<<: {data: b} # here", `"<<"`, "expected a plain key"},
		"syntax":                {head + "data: [a, b # here", "", ""},
		"second document":       {head + "---\ndata: b # here", "", "a second one"},
		"listen":                {head + "listen: 8080 # here", "listen", `found "8080", expected an address such as`},
		"public url":            {head + "public_url: loa.example # here", "public_url", "expected an address such as https://"},
		"role":                  {head + "roles: [feed] # here", "roles[0]", `found "feed", did you mean feeds?`},
		"role twice":            {head + "roles: [feeds, feeds] # here", "roles[1]", "twice"},
		"log level":             {site + "log:\n  level: warning # here", "log.level", "did you mean warn?"},
		"nats url":              {head + "nats:\n  url: http://nats.example # here", "nats.url", "nats://"},
		"replicas":              {head + "nats:\n  replicas: 2 # here", "nats.replicas", "expected 1, 3 or 5"},
		"replicas, embedded":    {head + "nats:\n  replicas: 3 # here", "nats.replicas", "the embedded server is alone"},
		"user without password": {head + "nats:\n  user: loa # here\n  url: nats://n.example", "nats.password_file", `missing, expected the file that holds the password of "loa"`},
		"s3 path":               {head + "s3:\n  access_key: a\n  secret_key: b\n  url: https://s3.example/loa # here", "s3.url", "without a path"},
		"s3 without keys":       {head + "s3:\n  url: https://s3.example # here\n  secret_key: b", "s3.access_key", "missing"},
		"bucket":                {head + "s3:\n  bucket: Loa # here", "s3.bucket", "small letters"},
		"stub's time":           {head + "feeds:\n  withdrawn_stub_for: 0s # here", "feeds.withdrawn_stub_for", "1s"},
		"feed content":          {head + "feeds:\n  content: all # here", "feeds.content", `found "all", expected one of full, summary`},
		"CMS's secret":          {head + "intake:\n  cms:\n    - name: cms # here\n      sites: [an-hoa]", "intake.cms[0].secret_file", "missing, expected the file"},
		"CMS's bad secret":      {head + "intake:\n  cms:\n    - name: cms\n      sites: [an-hoa]\n      secret: whsec_bimat # here", "intake.cms[0].secret", "webhook secret: expected whsec_"},
		"CMS's site":            {head + "intake:\n  cms:\n    - name: cms\n      secret: " + events.NewSecret() + "\n      sites: [an-ho] # here", "intake.cms[0].sites[0]", "did you mean an-hoa?"},
		"CMS without sites":     {head + "intake:\n  cms:\n    - name: cms # here\n      secret: " + events.NewSecret(), "intake.cms[0].sites", "missing"},
		"intake's rate":         {head + "intake:\n  rate: 5000/s # here", "intake.rate", "at most 1000/s"},
		"kind of feed":          {head + "feeds:\n  kinds:\n    tags: {page: 3} # here", "feeds.kinds.tags", `did you mean tag?`},
		"kind's page":           {head + "feeds:\n  kinds:\n    tag: {page: 501} # here", "feeds.kinds.tag.page", "expected 1 to 500"},
		"custom feed's id":      {head + "feeds:\n  custom:\n    - {id: an-hoa, title: X} # here", "feeds.custom[0].id", `a site or another feed that is called "an-hoa"`},
		"custom feed's title":   {head + "feeds:\n  custom:\n    - {id: x} # here", "feeds.custom[0].title", "missing"},
		"custom feed's site":    {head + "feeds:\n  custom:\n    - {id: x, title: X, filter: {sites: [an-hao]}} # here", "feeds.custom[0].filter.sites[0]", "did you mean an-hoa?"},
		"feeds' language":       {head + "feeds:\n  language: tiếng Việt # here", "feeds.language", "a language's tag"},
		"succession's day":      {site + "  - {id: b, name: B, url: \"https://b.example/\", successors: [an-hoa], succeeded: 1/7/2025} # here", "sites[1].succeeded", "a day such as 2025-07-01"},
		"site's feeds":          {site + "  - {id: b, name: B, url: \"https://b.example/\", feeds: {content: all}} # here", "sites[1].feeds.content", "expected one of full, summary"},
		"hub":                   {head + "feeds:\n  hubs: [gopher://hub.example/] # here", "feeds.hubs[0]", "scheme gopher"},
		"lease bounds":          {head + "hub:\n  lease_min: 30h # here\n  lease_max: 20h", "hub.lease_min", "at most lease_max, 20h0m0s"},
		"lease":                 {head + "hub:\n  lease: 1h # here\n  lease_min: 2h", "hub.lease", "found 1h0m0s, expected 2h0m0s to 720h0m0s"},
		"callbacks of a host":   {head + "hub:\n  per_host: 5000 # here", "hub.per_host", "found 5000, expected 1 to 1000"},
		"old subscriber":        {head + "hub:\n  sha1_for: [\"https://reader.example\"] # here", "hub.sha1_for[0]", "the name of a host"},
		"site id":               {"sites:\n  - id: An Hòa # here\n    name: An Hòa\n    url: https://anhoa.example/", "sites[0].id", "small letters and digits"},
		"site without name":     {"sites:\n  - id: an-hoa # here\n    url: https://anhoa.example/", "sites[0].name", "missing"},
		"site url":              {site + "  - id: b\n    name: B\n    url: ftp://b.example/ # here", "sites[1].url", "scheme ftp"},
		"site twice":            {site + "  - id: an-hoa # here\n    name: B\n    url: https://b.example/", "sites[1].id", `site "an-hoa" is there twice`},
		"parent unknown":        {site + "  - id: b # here\n    name: B\n    url: https://b.example/\n    parent: c", "sites[1].id", `parent "c" is not a site`},
		"parent in a circle":    {site + "  - id: b # here\n    name: B\n    url: https://b.example/\n    parent: b", "sites[1].id", "lies under itself"},
		"portal name":           {head + strings.Replace(portal, "cong\n", "Cổng # here\n", 1), "portals[0].name", "small letters and digits"},
		"portal twice":          {head + portal + "  - name: cong # here\n    url: https://b.example/\n    secret: " + events.NewSecret(), "portals[1].name", "twice"},
		"portal url":            {head + strings.Replace(portal, "https://cong.example/", "https://cong.example:25/ # here", 1), "portals[0].url", "port 25"},
		"portal without secret": {head + "portals:\n  - name: cong # here\n    url: https://cong.example/", "portals[0].secret_file", "missing"},
		"secret file missing":   {head + "portals:\n  - name: cong\n    url: https://cong.example/\n    secret_file: none # here", "portals[0].secret_file", "no such file"},
		"filter site":           {portal + "    filter:\n      sites: [anhoa] # here" + site, "portals[0].filter.sites[0]", `no site is called "anhoa", did you mean an-hoa?`},
		"filter urgency":        {portal + "    filter: {urgency: 9} # here" + site, "portals[0].filter.urgency", "found 9, expected 0 to 8"},
		"filter not site":       {portal + "    filter:\n      not:\n        sites: [anhoa] # here" + site, "portals[0].filter.not.sites[0]", "did you mean an-hoa?"},
		"filter since":          {portal + "    filter: {since: 2026-13-01} # here" + site, "portals[0].filter.since", "a day such as 2025-07-01"},
		"filter language":       {portal + "    filter: {languages: [tiếng Việt]} # here" + site, "portals[0].filter.languages[0]", "a language's tag"},
		"format":                {portal + "    format: rss # here" + site, "portals[0].format", `found "rss"`},
		"content":               {portal + "    content: whole # here" + site, "portals[0].content", `found "whole"`},
		"content of a format":   {portal + "    format: atom\n    content: full # here" + site, "portals[0].content", "always whole"},
		"digest times":          {portal + "    digest: {at: \"0 7 * * *\"} # here" + site, "portals[0].digest.at", "six fields"},
		"digest zone":           {portal + "    digest: {at: \"0 0 7 * * *\", zone: Hà Nội} # here" + site, "portals[0].digest.zone", "a time zone"},
		"digest most":           {portal + "    digest: {at: \"0 0 7 * * *\", most: 1000} # here" + site, "portals[0].digest.most", "found 1000"},
		"ca missing":            {portal + "    ca: none # here" + site, "portals[0].ca", "no such file"},
		"portal timeout":        {portal + "    timeout: 1h # here" + site, "portals[0].timeout", "found 1h0m0s"},
		"header":                {portal + "    headers:\n      webhook-id: x # here" + site, "portals[0].headers.webhook-id", "Loa's own"},
		"bad header":            {portal + "    headers:\n      \"a b\": x # here" + site, `portals[0].headers."a b"`, "an HTTP header"},
		"not UTF-8":             {head + "data: \xff # here", "", "UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, "loa.yaml", c.yaml)
			_, _, err := config.Load(path, config.Overlay{})
			var invalid *config.Error
			if !errors.As(err, &invalid) {
				t.Fatalf("accepted, or another error: %v", err)
			}
			line := 1 + strings.Count(c.yaml[:strings.Index(c.yaml, "# here")], "\n")
			f := invalid.Faults[0]
			if len(invalid.Faults) != 1 || f.Path != c.path || f.Place.Line != line || f.Place.Column == 0 || !strings.Contains(f.Problem, c.problem) {
				t.Errorf("wanted one fault in line %d, %s: %s\ngot %v", line, c.path, c.problem, err)
			}
			if want := fmt.Sprintf("%s:%d:", path, line); !strings.Contains(err.Error(), want) {
				t.Errorf("no word of %s in: %v", want, err)
			}
		})
	}
}

func TestAllFaultsAreFoundInTheOrderOfTheFile(t *testing.T) {
	_, _, err := config.Load(write(t, "loa.yaml", `
listen: nowhere
grace: soon
sites:
  - {id: An Hòa, url: x}
  - {id: b, name: B, url: "https://b.example/", parent: c, heigth: 3}
portals:
  - {name: p}
feeds: {page: 0, content: short}
`), config.Overlay{})
	var invalid *config.Error
	if !errors.As(err, &invalid) {
		t.Fatal(err)
	}
	var got []string
	for _, f := range invalid.Faults {
		got = append(got, fmt.Sprintf("%d %s", f.Place.Line, f.Path))
	}
	want := []string{"2 listen", "3 grace", "5 sites[0].name", "5 sites[0].id", "5 sites[0].url", "6 sites[1].id", "6 sites[1].heigth",
		"8 portals[0].secret_file", "8 portals[0].url", "9 feeds.page", "9 feeds.content"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q\n%v", got, want, err)
	}
}

func TestAFaultShowsItsLineWithAMark(t *testing.T) {
	_, _, err := config.Load(write(t, "loa.yaml", "grace: soon\n"+site), config.Overlay{})
	const want = "\n    1 | grace: soon\n      |        ^"
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("wanted%s\nin: %v", want, err)
	}
}

func TestSecretsAreNeverShown(t *testing.T) {
	const secret = "c0nfidential"
	for _, y := range []string{
		"portals:\n  - {name: p, url: https://p.example/, secret: " + secret + "}" + site,
		"portals:\n  - name: p\n    url: https://p.example/\n    secret: whsec_" + secret + site,
		"portals:\n  - name: whsec_" + secret + site,
		"portals:\n  - name: p\n    url: https://user:" + secret + "@p.example/" + site,
		"portals:\n  - name: p\n    url: ftp://p.example/?key=" + secret + site,
		"portals:\n  - name: p\n    headers: {X-Key: \"" + secret + "\\n\"}" + site,
		"portals:\n  - name: p\n    headers: {X-Key: [" + secret + "]}" + site,
		"portals:\n  - name: p\n    sekret_token: " + secret + site,
		"portals:\n  - name: p\n    secret: \"" + secret + "\n" + site, // not closed
		"nats:\n  password: {a: " + secret + "}" + site,
		"s3:\n  secret_key: [" + secret + "]" + site,
		"nats:\n  url: nats://loa:" + secret + "@n.example" + site,
	} {
		_, _, err := config.Load(write(t, "loa.yaml", y), config.Overlay{})
		if err == nil {
			t.Errorf("accepted: %s", y)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("the secret is in: %v", err)
		}
	}
	s := config.Secret(secret)
	encoded, _ := json.Marshal(struct{ S config.Secret }{s})
	inYAML, _ := yaml.Marshal(struct{ S config.Secret }{s})
	for _, shown := range []string{fmt.Sprintf("%v %s %q %x %d %#v %+v", s, s, s, s, s, s, config.S3{SecretKey: s}), string(encoded), string(inYAML)} {
		if strings.Contains(shown, secret) || strings.Contains(shown, fmt.Sprintf("%x", secret)) {
			t.Errorf("the secret is in %q", shown)
		}
	}
}

func TestSecretsComeFromFilesBesideTheConfiguration(t *testing.T) {
	old, new := events.NewSecret(), events.NewSecret()
	path := write(t, "loa.yaml", site+`
nats: {url: "nats://n.example:4222", user: loa, password_file: nats.password}
s3: {url: "https://s3.example", access_key: loa, secret_key_file: s3.secret}
portals:
  - {name: cong, url: "https://cong.example/", secret_file: cong.secret}
`)
	for name, content := range map[string]string{"nats.password": "mật khẩu\n", "s3.secret": "khóa", "cong.secret": new + "\n" + old + "\n"} {
		if err := os.WriteFile(filepath.Join(filepath.Dir(path), name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, warnings, err := config.Load(path, config.Overlay{})
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	if c.NATS.Password.Reveal() != "mật khẩu" || c.S3.SecretKey.Reveal() != "khóa" {
		t.Error("a secret differs from its file")
	}
	if !slices.Equal(c.Portals[0].Secrets, []config.Secret{config.Secret(new), config.Secret(old)}) {
		t.Error("the portal's secrets are not those of its file")
	}
}

func TestWarnings(t *testing.T) {
	open := write(t, "open.secret", events.NewSecret())
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	_, warnings := load(t, site+`
listen: ":8080"
nats: {url: "nats://n.example:4222"}
portals:
  - {name: a, url: "https://a.example/", secret: `+events.NewSecret()+`}
  - {name: b, url: "http://b.example/", secret_file: `+open+`}
`)
	var got []string
	for _, w := range warnings {
		got = append(got, fmt.Sprintf("%d %s", w.Place.Line, w.Path))
	}
	if want := []string{"7 portals[0].secret", "8 portals[1].url", "8 portals[1].secret_file", "5 nats.url"}; len(got) != 5 {
		t.Errorf("got %q, want %q and public_url", got, want)
	}
}

func TestFlagsGoBeforeEnvironmentBeforeFile(t *testing.T) {
	path := write(t, "loa.yaml", "listen: 127.0.0.1:1\ngrace: 1s\nlog: {level: trace}\nroles: [intake]\ns3: {url: 'https://s3.example', access_key: a, secret_key_file: none}"+site)
	t.Setenv("LOA_LISTEN", "127.0.0.1:2")
	t.Setenv("LOA_GRACE", "2s")
	t.Setenv("LOA_S3_SECRET_KEY", "khóa")
	var cli struct{ config.Overlay }
	parser, err := kong.New(&cli)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse([]string{"--listen=127.0.0.1:3", "--roles=feeds,gateway"}); err != nil {
		t.Fatal(err)
	}
	c, warnings, err := config.Load(path, cli.Overlay)
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) > 0 {
		t.Errorf("warnings: %v", warnings)
	}
	if c.Listen != "127.0.0.1:3" {
		t.Errorf("flag over environment: %s", c.Listen)
	}
	if c.Grace != 2*time.Second || c.S3.SecretKey.Reveal() != "khóa" {
		t.Errorf("environment over file: %s, %t", c.Grace, c.S3.SecretKey != "")
	}
	if c.Log.Level != "trace" {
		t.Errorf("file over default: %s", c.Log.Level)
	}
	if !slices.Equal(c.Roles, []string{"feeds", "gateway"}) {
		t.Errorf("roles: %v", c.Roles)
	}
	if c.Log.Format != config.FormatConsole {
		t.Errorf("default: %s", c.Log.Format)
	}
}

func TestFaultsInFlagsNameTheFlag(t *testing.T) {
	bad := "nowhere"
	_, _, err := config.Load(write(t, "loa.yaml", site), config.Overlay{Listen: &bad})
	if err == nil || !strings.Contains(err.Error(), `--listen or LOA_LISTEN: listen: found "nowhere"`) {
		t.Errorf("%v", err)
	}
}

func TestWithoutAFileOnlyTheSitesAreMissing(t *testing.T) {
	_, _, err := config.Load("", config.Overlay{})
	var invalid *config.Error
	if !errors.As(err, &invalid) || len(invalid.Faults) != 1 || invalid.Faults[0].Path != "sites" {
		t.Error(err)
	}
	if _, _, err := config.Load(filepath.Join(t.TempDir(), "none.yaml"), config.Overlay{}); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestConfigurationsMadeByProgramsAreChecked(t *testing.T) {
	c := config.Default()
	c.Sites = []config.Site{{ID: "an-hoa", Name: "An Hòa", URL: "https://anhoa.example/"}}
	c.Portals = []config.Portal{{Name: "cong", URL: "https://cong.example/", Secret: config.Secret(events.NewSecret())}}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	if len(c.Portals[0].Secrets) != 1 || c.MediaURL == "" {
		t.Errorf("not filled in: %+v", c)
	}
	c.Grace = 0
	if err := c.Check(); err == nil || !strings.Contains(err.Error(), "grace: found 0s, expected 1s to 10m0s") {
		t.Error(err)
	}
}

func TestTheExampleIsRightAndHasTheDefaults(t *testing.T) {
	c, warnings := load(t, config.Example())
	if len(warnings) > 0 {
		t.Errorf("warnings: %v", warnings)
	}
	d := config.Default()
	d.Sites, d.Portals, d.Media, d.Feeds.Hubs, d.Intake.CMSs = c.Sites, c.Portals, c.Media, c.Feeds.Hubs, c.Intake.CMSs
	d.Hub.Allow, d.Hub.SHA1For = c.Hub.Allow, c.Hub.SHA1For
	if err := d.Check(); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprintf("%+v", c), fmt.Sprintf("%+v", d); got != want {
		t.Errorf("what the example says is not the default:\n%s\n%s", got, want)
	}
}

// TestEverySettingOfTheExampleIsRight takes the "#" from every setting that has one.
func TestEverySettingOfTheExampleIsRight(t *testing.T) {
	setting := regexp.MustCompile(`(?m)^( *)#(\S|  )`)
	full := setting.ReplaceAllString(config.Example(), "$1$2")
	// Where both the default and an example are there, the example stays.
	full = regexp.MustCompile(`(?m)^ *(allow|hubs|portals|crops|sha1_for|cms|proxies): \[\].*\n`).ReplaceAllString(full, "")
	path := write(t, "loa.yaml", full)
	certificate, key := selfSigned(t)
	for name, content := range map[string]string{"nats.creds": "x", "s3.secret": "x", "cms.password": "x", "anh-goc.secret": "x", "cms/an-hoa.secret": events.NewSecret(),
		"portals/cong-thanh-pho.secret": events.NewSecret(), "portal.key": secret.NewKey().Reveal(),
		"portals/loa.pem": certificate, "portals/loa.key": key, "portals/ca.pem": certificate} {
		name = filepath.Join(filepath.Dir(path), name)
		os.MkdirAll(filepath.Dir(name), 0o700)
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, _, err := config.Load(path, config.Overlay{})
	var invalid *config.Error
	if !errors.As(err, &invalid) {
		t.Fatalf("both ways to log in to NATS are accepted: %v", err)
	}
	for _, f := range invalid.Faults {
		if !strings.HasPrefix(f.Path, "nats.") { // the example shows both ways to log in
			t.Error(f)
		}
	}
	for _, key := range []string{"data:", "public_url:", "media_url:", "grace:", "rate: 20/s", "secret_file:", "replicas:"} {
		if !regexp.MustCompile(`(?m)^ *(- )?` + regexp.QuoteMeta(key)).MatchString(full) {
			t.Errorf("%s was not put to the test", key)
		}
	}
}

// selfSigned makes a certificate and its key, as PEM.
func selfSigned(t *testing.T) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func FuzzLoad(f *testing.F) {
	f.Add(config.Example())
	f.Add(site)
	f.Add("a: &x [*x]\n<<: *x\n? [1]\n: {}\n")
	f.Add("portals: [{secret: !!binary aaa, headers: {a: |\n  b\n}}]")
	f.Add("- - - {")
	f.Add("sites: [{id: 1, id: 1, 1: 2}]\n--- |\n x\n...\n")
	f.Fuzz(func(t *testing.T, content string) {
		if len(content) > 2<<10 { // the parser is quadratic in nested brackets
			return
		}
		c, _, err := config.Load(write(t, "loa.yaml", content), config.Overlay{})
		if (c == nil) == (err == nil) {
			t.Fatalf("%v, %v", c, err)
		}
		if err != nil && err.Error() == "" {
			t.Fatal("an error without words")
		}
	})
}
