package config

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/cron"
	"github.com/loa-syndication/loa/internal/outbound"
	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/site"
)

// Limits of settings, where a greater or lesser value can only be a mistake.
const (
	minGrace, maxGrace         = time.Second, 10 * time.Minute
	minTTL, maxTTL             = time.Minute, 24 * time.Hour
	minWithdrawn, maxWithdrawn = time.Second, 10 * 365 * 24 * time.Hour
	// maxPage is in entries: with full bodies such a feed has some megabytes.
	maxPage = 500
	// maxDeadline for pictures keeps an article from waiting longer than its readers would.
	minDeadline, maxDeadline = time.Second, 10 * time.Minute
	// Pictures' files: less than the smallest is no photograph, more than the largest is held
	// in memory several times over.
	minImage, maxImage Size = 64 << 10, 256 << 20
	// maxPixels is a 200 megapixel camera's picture.
	minPixels, maxPixels Count = 1 << 20, 200_000_000
	// A picture's time of grace: enough to see what happens, and a year.
	minErase, maxErase = time.Second, 366 * 24 * time.Hour
	// minSide is a phone's screen, maxSide more than any camera's.
	minSide, maxSide Count = 1000, 100_000
	// minPixelBytes is what the plainest PNG takes, maxPixelBytes more than any format can.
	minPixelBytes, maxPixelBytes Size = 4, 64
	// Memory for decoding: one picture of 12 megapixels, and what a server may have.
	minMemory, maxMemory Size  = 64 << 20, 16 << 30
	minFrames, maxFrames Count = 1, 100_000
	minImageTime               = time.Second
	maxImageTime               = 2 * time.Minute // a picture's whole job has 3
	// maxAttachment is what an object is stored of in one request.
	minAttachment, maxAttachment Size = 64 << 10, 256 << 20
	maxPerHost                        = 64
	// Renditions' widths, in pixels: of a small thumbnail, of a great screen.
	minWidth, maxWidth      = 16, 4096
	maxWidths               = 8
	minEvents          Size = 16 << 20 // two of the largest events
	// maxSite and maxPortal are lengths of ids, in characters, as events and flags allow them.
	maxSite, maxPortal = 40, 64
	// A lease of the hub: a minute is for those who try it out, and after a year nobody knows any
	// more who it was.
	minLease, maxLease = time.Minute, 366 * 24 * time.Hour
	// maxCallbacks is how many a worker keeps apart that fail at one host, and maxSubscriptions take
	// some 500 MiB of memory, at half a KiB each.
	maxCallbacks           = 1000
	maxSubscriptions Count = 1_000_000
	// A portal's limits.
	maxInFlight                             = 64
	maxRate                            Rate = 1000
	minPortalTimeout, maxPortalTimeout      = time.Second, time.Minute
	maxSecrets                              = 4
	// minAPIRate is one request in a minute: with less nobody gets anywhere.
	minAPIRate  Rate = 1.0 / 60
	leastUrgent      = 8 // IPTC
)

// Check fills in what follows from other settings, and reports everything that is wrong with
// the configuration in one *[Error]. [Load] does it; it is for configurations made otherwise.
func (c *Config) Check() error {
	k := newCheck(c, map[string]Place{}, nil)
	k.readSecrets(Overlay{})
	k.run()
	return k.err()
}

// check goes through a configuration and collects what it finds.
type check struct {
	c        *Config
	places   map[string]Place
	faults   []Fault
	warnings []Warning
	faulty   map[string]bool // paths of faults
	// secretsOptional says that portals need not have secrets: some are made for them.
	secretsOptional bool
}

// newCheck goes on where reading the file found faults.
func newCheck(c *Config, places map[string]Place, faults []Fault) *check {
	k := &check{c: c, places: places, faults: faults, faulty: make(map[string]bool)}
	for _, f := range faults {
		k.faulty[f.Path] = true
	}
	return k
}

// fault reports a problem of the setting at path, unless it, or what it is part of, is known
// to be faulty: what could not be read is not called missing as well.
func (k *check) fault(path, problem string) {
	for p := path; ; p = parent(p) {
		if k.faulty[p] {
			return
		}
		if p == "" {
			break
		}
	}
	k.faulty[path] = true
	k.faults = append(k.faults, Fault{k.place(path), path, problem})
}

// parent is the path of what the setting belongs to.
func parent(path string) string { return path[:max(strings.LastIndexAny(path, ".["), 0)] }

func (k *check) warn(path, problem string) {
	k.warnings = append(k.warnings, Warning{k.place(path), path, problem})
}

// place is where the setting was made; for one that is missing, where what it belongs to was.
func (k *check) place(path string) Place {
	for {
		if p, ok := k.places[path]; ok || path == "" {
			return p
		}
		path = parent(path)
	}
}

// found reports a value and what was expected in its place.
func (k *check) found(path, value, expected string) {
	if value == "" {
		k.fault(path, "missing, expected "+expected)
		return
	}
	k.fault(path, fmt.Sprintf("found %s, expected %s", quote(value), expected))
}

func (k *check) run() {
	c := k.c
	if c.DataDir == "" {
		k.found("data", "", "a directory")
	}
	k.general()
	k.nats()
	k.s3()
	k.limits()
	k.media()
	k.feeds()
	k.hub()
	k.api()
	k.sites()
	k.intake()
	k.portals()
}

// siteIDs are the ids of the configured sites.
func (k *check) siteIDs() []string {
	ids := make([]string, len(k.c.Sites))
	for i, s := range k.c.Sites {
		ids[i] = s.ID
	}
	return ids
}

func (k *check) intake() {
	in := k.c.Intake
	sites, names := k.siteIDs(), map[string]bool{}
	if in.Rate <= 0 || in.Rate > maxRate {
		k.fault("intake.rate", fmt.Sprintf("found %g/s, expected more than none and at most %g/s", float64(in.Rate), float64(maxRate)))
	}
	for i, m := range in.CMSs {
		path := fmt.Sprintf("intake.cms[%d]", i)
		k.id(path+".name", m.Name, maxPortal)
		if names[m.Name] {
			k.fault(path+".name", "CMS "+quote(m.Name)+" is there twice")
		}
		names[m.Name] = true
		if len(m.Sites) == 0 {
			k.found(path+".sites", "", "the sites that it publishes")
		}
		for j, id := range m.Sites {
			if !slices.Contains(sites, id) {
				k.fault(fmt.Sprintf("%s.sites[%d]", path, j), fmt.Sprintf("no site is called %s, %s", quote(id), suggest(id, sites)))
			}
		}
		k.verifying(path, m)
		if m.Rate > maxRate {
			k.fault(path+".rate", fmt.Sprintf("found %g/s, expected at most %g/s", float64(m.Rate), float64(maxRate)))
		}
	}
}

// verifying checks the secrets or public keys with which a CMS's signatures are verified.
func (k *check) verifying(path string, m CMS) {
	at := path + ".secret"
	if m.SecretFile != "" {
		at += "_file"
	}
	switch n := len(m.Secrets); {
	case n == 0:
		k.found(path+".secret_file", "", "the file that holds the secret with which it signs; one that does not sign needs no entry here, but a key (loa keys add --kind cms)")
	case n > maxSecrets:
		k.fault(at, fmt.Sprintf("found %d secrets, expected at most two of a kind, while one replaces the other", n))
	default:
		for _, s := range m.Secrets {
			if _, err := events.NewVerifier(s.Reveal()); err != nil {
				k.fault(at, err.Error()) // which does not tell the secret
			}
		}
	}
}

func (k *check) portals() {
	c := k.c
	names := make(map[string]bool, len(c.Portals))
	sites := k.siteIDs()
	for i, p := range c.Portals {
		path := fmt.Sprintf("portals[%d]", i)
		if names[p.Name] {
			k.fault(path+".name", "portal "+quote(p.Name)+" is there twice")
		}
		names[p.Name] = true
		k.portal(path, &c.Portals[i])
		k.filter(path+".filter", p.Filter, sites)
	}
}

func (k *check) general() {
	c := k.c
	if k.listen("listen", c.Listen) && c.PublicURL == "" {
		host, port, _ := net.SplitHostPort(c.Listen)
		if addr, err := netip.ParseAddr(host); host == "" || err == nil && addr.IsUnspecified() {
			host = "localhost"
			k.warn("public_url", "feeds will have addresses with localhost in them: say how the world reaches "+c.Listen)
		}
		c.PublicURL = "http://" + net.JoinHostPort(host, port) + "/"
	}
	if c.PublicURL != "" {
		k.base("public_url", &c.PublicURL)
	}
	if c.MediaURL == "" {
		c.MediaURL = c.PublicURL
	} else {
		k.base("media_url", &c.MediaURL)
	}
	if c.Media.Redirect != "" {
		k.base("media.redirect", &c.Media.Redirect)
		if c.Media.Redirect == c.PublicURL {
			k.found("media.redirect", c.Media.Redirect, "another address than public_url, or readers are sent round in a circle")
		}
	}
	if len(c.Roles) == 0 {
		c.Roles = Roles()
	}
	for i, role := range c.Roles {
		path := fmt.Sprintf("roles[%d]", i)
		if !slices.Contains(Roles(), role) {
			k.fault(path, fmt.Sprintf("found %s, %s", quote(role), suggest(role, Roles())))
		} else if slices.Contains(c.Roles[:i], role) {
			k.fault(path, "found "+quote(role)+" twice")
		}
	}
	within(k, "grace", c.Grace, minGrace, maxGrace)
	k.oneOf("log.level", c.Log.Level, "trace", "debug", "info", "warn", "error")
	k.oneOf("log.format", c.Log.Format, FormatConsole, FormatJSON)
}

func (k *check) nats() {
	n := k.c.NATS
	switch n.Replicas {
	case 1:
	case 3, 5:
		if n.URL == "" {
			k.fault("nats.replicas", fmt.Sprintf("found %d, expected 1: the embedded server is alone", n.Replicas))
		}
	default:
		k.found("nats.replicas", strconv.Itoa(n.Replicas), "1, 3 or 5")
	}
	if n.Password != "" && n.User == "" {
		k.found("nats.user", "", "the name that the password belongs to")
	}
	if n.User != "" && n.Password == "" {
		k.found("nats.password_file", "", "the file that holds the password of "+quote(n.User))
	}
	if n.User != "" && n.CredentialsFile != "" {
		k.fault("nats.credentials_file", "expected either a credentials file or a user and password, not both")
	}
	if n.URL == "" {
		k.listen("nats.listen", n.Listen)
		if n.User != "" || n.CredentialsFile != "" {
			k.found("nats.url", "", "the address of the server to log in to")
		}
		return
	}
	for _, address := range strings.Split(n.URL, ",") {
		u, err := url.Parse(strings.TrimSpace(address))
		if err != nil || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) || u.Hostname() == "" {
			k.found("nats.url", n.URL, "an address such as nats://nats.example.vn:4222 or tls://…")
		} else if u.User != nil {
			k.fault("nats.url", "found a user name in the address, expected it in user and password_file")
		}
	}
	if n.User == "" && n.CredentialsFile == "" {
		k.warn("nats.url", "no credentials are given: everybody who reaches this NATS can publish")
	}
}

func (k *check) s3() {
	s := k.c.S3
	if !bucketName.MatchString(s.Bucket) {
		k.found("s3.bucket", s.Bucket, "3 to 63 small letters, digits and hyphens")
	}
	if s.Region == "" {
		k.found("s3.region", "", "a region such as us-east-1")
	}
	if s.URL == "" {
		if s.AccessKey != "" || s.SecretKey != "" {
			k.found("s3.url", "", "the address of the server that the keys are for")
		}
		return
	}
	if !bareSite(s.URL) {
		k.found("s3.url", s.URL, "an address such as https://s3.example.vn, without a path: the bucket has its own key")
	}
	if s.AccessKey == "" {
		k.found("s3.access_key", "", "the access key for "+quote(s.URL))
	}
	if s.SecretKey == "" {
		k.found("s3.secret_key_file", "", "the file that holds the secret key")
	}
}

// bucketName is S3's rule, without dots, which break certificates.
var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$`)

func (k *check) limits() {
	l := k.c.Limits
	within(k, "limits.image_deadline", l.ImageDeadline, minDeadline, maxDeadline)
	within(k, "limits.image_bytes", l.ImageBytes, minImage, maxImage)
	within(k, "limits.image_pixels", l.ImagePixels, minPixels, maxPixels)
	within(k, "limits.image_side", l.ImageSide, minSide, maxSide)
	within(k, "limits.image_pixel_bytes", l.ImagePixelBytes, minPixelBytes, maxPixelBytes)
	within(k, "limits.image_memory", l.ImageMemory, minMemory, maxMemory)
	within(k, "limits.decoding_memory", l.DecodingMemory, minMemory, maxMemory)
	within(k, "limits.image_frames", l.ImageFrames, minFrames, maxFrames)
	within(k, "limits.image_time", l.ImageTime, minImageTime, maxImageTime)
	within(k, "limits.attachment_bytes", l.AttachmentBytes, minAttachment, maxAttachment)
	if l.DecodingMemory < l.ImageMemory {
		k.found("limits.decoding_memory", l.DecodingMemory.String(), "at least image_memory, "+l.ImageMemory.String())
	}
	if l.EventsBytes < minEvents {
		k.found("limits.events_bytes", l.EventsBytes.String(), "at least "+minEvents.String())
	}
}

func (k *check) media() {
	m := &k.c.Media
	within(k, "media.erase_after", m.EraseAfter, minErase, maxErase)
	within(k, "media.per_host", m.PerHost, 1, maxPerHost)
	if n := len(m.Widths); n < 1 || n > maxWidths {
		k.fault("media.widths", fmt.Sprintf("found %d widths, expected 1 to %d", n, maxWidths))
	}
	for i, w := range m.Widths {
		within(k, fmt.Sprintf("media.widths[%d]", i), w, minWidth, maxWidth)
	}
	slices.Sort(m.Widths)
	m.Widths = slices.Compact(m.Widths)
	if len(m.Formats) == 0 {
		k.found("media.formats", "", "jpeg, webp or both")
	}
	for i, f := range m.Formats {
		k.oneOf(fmt.Sprintf("media.formats[%d]", i), f, FormatJPEG, FormatWebP)
	}
	for i, c := range m.Crops {
		k.oneOf(fmt.Sprintf("media.crops[%d]", i), c, "1:1", "16:9")
	}
	for i, c := range m.Credentials {
		path := fmt.Sprintf("media.credentials[%d]", i)
		if !bareSite(c.Site) {
			k.found(path+".site", c.Site, "the scheme and host of a CMS, such as https://cms.example.vn, without a path")
		} else if strings.HasPrefix(c.Site, "http:") {
			k.warn(path+".site", "the password goes over plain http, which anybody on the way can read")
		}
		if c.User == "" {
			k.found(path+".user", "", "the name that the password belongs to")
		}
		if c.Password == "" {
			k.found(path+".password_file", "", "the file that holds the password of "+quote(c.User))
		}
	}
	for i, b := range m.Buckets {
		path := fmt.Sprintf("media.buckets[%d]", i)
		switch {
		case !bucketName.MatchString(b.Name):
			k.found(path+".name", b.Name, "3 to 63 small letters, digits and hyphens")
		case slices.ContainsFunc(m.Buckets[:i], func(o Bucket) bool { return o.Name == b.Name }):
			k.fault(path+".name", "bucket "+quote(b.Name)+" is there twice")
		case b.Name == k.c.S3.Bucket && (b.URL == "" || b.URL == k.c.S3.URL):
			k.fault(path+".name", "this is Loa's own bucket: pictures are not taken from there")
		}
		if b.URL == "" {
			if b.AccessKey != "" || b.SecretKey != "" {
				k.found(path+".url", "", "the address of the server that the keys are for")
			}
			continue
		}
		if !bareSite(b.URL) {
			k.found(path+".url", b.URL, "an address such as https://s3.example.vn, without a path")
		}
		if (b.AccessKey == "") != (b.SecretKey == "") {
			k.found(path+".access_key", b.AccessKey, "an access key and secret_key_file, or neither")
		}
	}
}

// bareSite reports whether an address is one of a site alone.
func bareSite(address string) bool {
	u, err := url.Parse(address)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && u.User == nil &&
		strings.Trim(u.Path, "/") == "" && u.RawQuery == "" && u.Fragment == ""
}

func (k *check) feeds() {
	f := k.c.Feeds
	within(k, "feeds.page", f.Page, 1, maxPage)
	k.oneOf("feeds.content", f.Content, ContentFull, ContentSummary)
	within(k, "feeds.ttl", f.TTL, minTTL, maxTTL)
	within(k, "feeds.withdrawn_for", f.WithdrawnFor, minWithdrawn, maxWithdrawn)
	within(k, "feeds.withdrawn_stub_for", f.WithdrawnStubFor, minWithdrawn, maxWithdrawn)
	for i, hub := range f.Hubs {
		k.address(fmt.Sprintf("feeds.hubs[%d]", i), hub, "a hub's address")
	}
	if !portal.IsLanguage(f.Language) {
		k.found("feeds.language", f.Language, "a language's tag such as vi or en-GB")
	}
	if f.Image != "" {
		k.address("feeds.image", f.Image, "a picture's address")
	}
	for name, kind := range f.Kinds {
		path := join("feeds.kinds", name)
		if !slices.Contains(feedKinds, name) {
			k.fault(path, "unknown key, "+suggest(name, feedKinds))
			continue
		}
		k.shape(path, kind.Page, kind.Content)
	}
	k.customFeeds()
}

// feedKinds are the kinds of feeds that there are without being listed.
var feedKinds = []string{"site", "subtree", "category", "tag", "author", "urgency", "gallery"}

// shape checks what a feed has otherwise than all.
func (k *check) shape(path string, page int, content string) {
	if page != 0 {
		within(k, path+".page", page, 1, maxPage)
	}
	if content != "" {
		k.oneOf(path+".content", content, ContentFull, ContentSummary)
	}
}

func (k *check) customFeeds() {
	ids := map[string]bool{}
	var sites []string
	for _, s := range k.c.Sites {
		ids[s.ID] = true
		sites = append(sites, s.ID)
	}
	for i, f := range k.c.Feeds.Custom {
		path := fmt.Sprintf("feeds.custom[%d]", i)
		k.id(path+".id", f.ID, maxSite)
		if ids[f.ID] {
			k.fault(path+".id", "there is a site or another feed that is called "+quote(f.ID))
		}
		ids[f.ID] = true
		if strings.TrimSpace(f.Title) == "" {
			k.found(path+".title", "", "what people call the feed")
		}
		k.filter(path+".filter", f.Filter, sites)
		k.shape(path, f.Page, f.Content)
	}
}

func (k *check) hub() {
	h := k.c.Hub
	within(k, "hub.lease_min", h.LeaseMin, minLease, maxLease)
	within(k, "hub.lease_max", h.LeaseMax, minLease, maxLease)
	if h.LeaseMin > h.LeaseMax {
		k.found("hub.lease_min", h.LeaseMin.String(), "at most lease_max, "+h.LeaseMax.String())
	} else {
		within(k, "hub.lease", h.Lease, h.LeaseMin, h.LeaseMax)
	}
	within(k, "hub.subscriptions", h.Subscriptions, 1, maxSubscriptions)
	within(k, "hub.per_host", h.PerHost, 1, maxCallbacks)
	within(k, "hub.per_address", h.PerAddress, 1, maxSubscriptions)
	within(k, "hub.in_flight", h.InFlight, 1, maxInFlight)
	if h.Rate <= 0 || h.Rate > maxRate {
		k.fault("hub.rate", fmt.Sprintf("found %v/s, expected more than 0 and at most %v/s", float64(h.Rate), float64(maxRate)))
	}
	within(k, "hub.timeout", h.Timeout, minPortalTimeout, maxPortalTimeout)
	for i, host := range h.SHA1For {
		if u, err := url.Parse("http://" + host + "/"); err != nil || host == "" || u.Hostname() != host || host != strings.ToLower(host) {
			k.found(fmt.Sprintf("hub.sha1_for[%d]", i), host, "the name of a host, in small letters and without a port")
		}
	}
}

func (k *check) api() {
	a := k.c.API
	k.oneOf("api.public", a.Public, PublicNone, ContentSummary, ContentFull)
	within(k, "api.rate", a.Rate, minAPIRate, maxRate)
	within(k, "api.public_rate", a.PublicRate, minAPIRate, maxRate)
}

// idPattern is that of a site's id in events.
var idPattern = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

func (k *check) id(path, id string, most int) {
	if !idPattern.MatchString(id) || len(id) > most {
		k.found(path, id, fmt.Sprintf("at most %d small letters and digits, in words joined by single hyphens", most))
	}
}

func (k *check) sites() {
	if len(k.c.Sites) == 0 {
		k.fault("sites", "expected at least one site")
	}
	sites := make([]site.Site, len(k.c.Sites))
	for i, s := range k.c.Sites {
		sites[i] = s.Site()
		path := fmt.Sprintf("sites[%d]", i)
		k.id(path+".id", s.ID, maxSite)
		k.address(path+".url", s.URL, "the site's home page")
		if strings.TrimSpace(s.Name) == "" {
			k.found(path+".name", "", "what people call the site")
		}
		k.shape(path+".feeds", s.Feeds.Page, s.Feeds.Content)
		if _, err := time.Parse(day, s.Succeeded); s.Succeeded != "" && err != nil {
			k.found(path+".succeeded", s.Succeeded, "a day such as 2025-07-01")
			sites[i].Successors = nil
		}
	}
	_, err := site.New(sites)
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return
	}
	for _, err := range joined.Unwrap() {
		var f *site.Fault
		if errors.As(err, &f) && sites[f.Index].ID != "" { // one without an id was reported above
			k.fault(fmt.Sprintf("sites[%d].id", f.Index), err.Error())
		}
	}
}

func (k *check) portal(path string, p *Portal) {
	k.id(path+".name", p.Name, maxPortal)
	if p.Title == "" {
		p.Title = p.Name
	}
	k.address(path+".url", p.URL, "where the portal takes bulletins")
	if strings.HasPrefix(p.URL, "http://") && len(p.Allow) == 0 {
		k.warn(path+".url", "bulletins go over plain http, which anybody on the way can read")
	}
	k.secrets(path, p)
	if p.Format != "" {
		k.oneOf(path+".format", p.Format, portal.Formats()...)
	}
	if p.Content != "" {
		k.oneOf(path+".content", p.Content, portal.Contents()...)
	}
	if p.Content == portal.ContentFull && p.Format != "" && p.Format != portal.FormatBulletin {
		k.fault(path+".content", "found full, expected none for the format "+p.Format+", which is always whole")
	}
	k.digest(path+".digest", p.Digest)
	k.clientCertificate(path+".client_certificate", p.ClientCertificate)
	if p.CA != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(p.CA)) {
		k.fault(path+".ca", "expected a file with one certificate or several as PEM")
	}
	within(k, path+".in_flight", p.InFlight, 0, maxInFlight)
	if p.Rate > maxRate {
		k.fault(path+".rate", fmt.Sprintf("found %g/s, expected at most %g/s", float64(p.Rate), float64(maxRate)))
	}
	if p.Timeout != 0 {
		within(k, path+".timeout", p.Timeout, minPortalTimeout, maxPortalTimeout)
	}
	for name, value := range p.Headers {
		if at := join(path+".headers", name); !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value.Reveal()) {
			k.fault(at, "expected the name and value of an HTTP header")
		} else if ours(name) {
			k.fault(at, "this header is Loa's own")
		}
	}
}

func (k *check) digest(path string, d Digest) {
	if d == (Digest{}) {
		return
	}
	zone := cmp.Or(d.Zone, portal.DigestZoneDefault)
	if _, err := cron.Zone(zone); err != nil {
		k.found(path+".zone", d.Zone, "a time zone such as "+portal.DigestZoneDefault)
		return
	}
	if _, err := cron.Parse(d.At, zone); err != nil {
		k.found(path+".at", d.At, "six fields (second, minute, hour, day of the month, month, day of the week) such as 0 0 7,16 * * *")
	}
	within(k, path+".most", d.Most, 0, portal.MaxDigest)
}

func (k *check) clientCertificate(path string, c ClientCertificate) {
	switch {
	case c.CertificateFile == "" && c.KeyFile == "":
	case c.CertificateFile == "":
		k.found(path+".certificate", "", "the file that holds the certificate")
	case c.KeyFile == "":
		k.found(path+".key", "", "the file that holds the certificate's key")
	case c.Certificate != "" && c.Key != "": // else it was reported when they were read
		if _, err := tls.X509KeyPair([]byte(c.Certificate), []byte(c.Key.Reveal())); err != nil {
			k.fault(path, "expected a certificate and its key as PEM: "+err.Error())
		}
	}
}

// ours reports whether a header is set by Loa, or is not for applications to set.
func ours(header string) bool {
	header = strings.ToLower(header)
	return strings.HasPrefix(header, "webhook-") || slices.Contains([]string{"host", "content-type", "content-length",
		"content-encoding", "transfer-encoding", "connection", "trailer", "te", "upgrade", "expect"}, header)
}

func (k *check) secrets(path string, p *Portal) {
	at := path + ".secret"
	if p.SecretFile != "" {
		at += "_file"
	}
	switch n := len(p.Secrets); {
	case n == 0 && p.SecretFile == "" && k.secretsOptional:
	case n == 0:
		k.found(path+".secret_file", "", "the file that holds the secret with which bulletins are signed")
	case n > maxSecrets:
		k.fault(at, fmt.Sprintf("found %d secrets, expected at most two of a kind, while one replaces the other", n))
	default:
		for _, s := range p.Secrets {
			if err := events.CheckSecret(s.Reveal()); err != nil {
				k.fault(at, err.Error()) // which does not tell the secret
			}
		}
	}
}

func (k *check) filter(path string, f Filter, sites []string) {
	k.criteria(path, f.Sites, f.Categories, f.Tags, f.Languages, sites)
	k.criteria(path+".not", f.Not.Sites, f.Not.Categories, f.Not.Tags, f.Not.Languages, sites)
	within(k, path+".urgency", f.Urgency, 0, leastUrgent)
	k.day(path+".since", f.Since)
}

func (k *check) day(path, date string) {
	if _, err := time.Parse(day, date); date != "" && err != nil {
		k.found(path, date, "a day such as 2025-07-01")
	}
}

func (k *check) criteria(path string, roots, categories, tags, languages, sites []string) {
	for i, id := range roots {
		if !slices.Contains(sites, id) {
			k.fault(fmt.Sprintf("%s.sites[%d]", path, i), fmt.Sprintf("no site is called %s, %s", quote(id), suggest(id, sites)))
		}
	}
	for key, words := range map[string][]string{"categories": categories, "tags": tags} {
		for i, w := range words {
			if strings.TrimSpace(w) == "" {
				k.found(fmt.Sprintf("%s.%s[%d]", path, key, i), "", "text")
			}
		}
	}
	for i, l := range languages {
		if !portal.IsLanguage(l) {
			k.found(fmt.Sprintf("%s.languages[%d]", path, i), l, "a language's tag such as vi or en-GB")
		}
	}
}

func (k *check) listen(path, address string) bool {
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		k.found(path, address, "an address such as 127.0.0.1:8080 or :8080")
	}
	return err == nil
}

// base checks an address that others are appended to, and gives it its slash.
func (k *check) base(path string, address *string) {
	u, err := url.Parse(*address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		k.found(path, *address, "an address such as https://loa.example.vn/, without a query")
		return
	}
	if !strings.HasSuffix(*address, "/") {
		*address += "/"
	}
}

// address checks an address that Loa calls or shows.
func (k *check) address(path, address, what string) {
	what += ", as https://example.vn/…"
	if address == "" {
		k.found(path, "", what)
		return
	}
	var refused *outbound.RefusedError
	if _, err := outbound.CheckURL(address, true); errors.As(err, &refused) {
		k.fault(path, fmt.Sprintf("found %s (%s), expected %s", quote(address), refused.Rule, what))
	}
}

func (k *check) oneOf(path, value string, known ...string) {
	if !slices.Contains(known, value) {
		k.fault(path, fmt.Sprintf("found %s, %s", quote(value), suggest(value, known)))
	}
}

// within wants low <= value <= high.
func within[T int | Size | Count | Rate | time.Duration](k *check, path string, value, low, high T) {
	if value < low || value > high {
		k.fault(path, fmt.Sprintf("found %v, expected %v to %v", value, low, high))
	}
}
