// Package config reads Loa's configuration: one YAML file, with flags and environment over it.
//
//	sites:
//	  - {id: an-hoa, name: Thành phố An Hòa, url: "https://anhoa.example/"}
//	portals:
//	  - {name: bao-an-hoa, url: "https://bao.example/loa", secret_file: bao.secret}
//
// [Load] answers with a [Config] that is complete and checked, or with every fault that it
// found, each with its line: nothing behind it has to check again. It is strict, because a
// misspelt key is a setting that silently has no effect. What commands do with the values is
// theirs; the package knows no other part of Loa but the rules for addresses, sites and
// secrets.
package config

import (
	"net/netip"
	"time"

	"github.com/loa-syndication/loa/internal/site"
	"github.com/loa-syndication/loa/internal/streams"
)

// Roles, the parts of Loa that a process may run.
const (
	RoleIntake    = "intake" // the router included: what enters the log is flagged there
	RoleFeeds     = "feeds"
	RoleBulletins = "bulletins"
	RoleHub       = "hub" // deliveries to subscribers; the hub's address is the gateway's
	RoleGateway   = "gateway"
)

// Roles lists all of them, in the order of an article's way.
func Roles() []string {
	return []string{RoleIntake, RoleFeeds, RoleBulletins, RoleHub, RoleGateway}
}

// Log formats.
const (
	FormatConsole = "console"
	FormatJSON    = "json"
)

// What a feed holds of an article.
const (
	ContentFull    = "full"
	ContentSummary = "summary"
)

// Config is the configuration. The yaml tags are its keys; the comments of deploy/loa.example.yaml
// say what each is for.
type Config struct {
	DataDir string `yaml:"data"`
	// Listen is the gateway's host:port.
	Listen string `yaml:"listen"`
	// PublicURL is how the world reaches the gateway. It ends with a slash.
	PublicURL string `yaml:"public_url"`
	// MediaURL is what object keys follow in the addresses of pictures ("media/<sha256>/…"):
	// PublicURL, or a CDN's address. It ends with a slash.
	MediaURL string `yaml:"media_url"`
	// PortalKey holds the keys with which the portals' secrets are sealed, one a line, the newest
	// first; or PortalKeyFile names the file that does. With the embedded NATS a key is made, and
	// kept in DataDir, where there is none.
	PortalKey     Secret `yaml:"portal_key"`
	PortalKeyFile string `yaml:"portal_key_file"`
	// Roles are those that this process runs.
	Roles []string `yaml:"roles"`
	// Grace is how long a shutdown may take.
	Grace   time.Duration `yaml:"grace"`
	Log     Log           `yaml:"log"`
	NATS    NATS          `yaml:"nats"`
	S3      S3            `yaml:"s3"`
	Limits  Limits        `yaml:"limits"`
	Media   Media         `yaml:"media"`
	Feeds   Feeds         `yaml:"feeds"`
	Hub     Hub           `yaml:"hub"`
	Intake  Intake        `yaml:"intake"`
	API     API           `yaml:"api"`
	Sites   []Site        `yaml:"sites"`
	Portals []Portal      `yaml:"portals"`
}

// Log says what is logged, and how.
type Log struct {
	Level  string `yaml:"level"`
	Format string `yaml:"format"` // [FormatConsole] or [FormatJSON]
}

// NATS says which NATS to use: the embedded one when URL is empty.
type NATS struct {
	// URL is one address, or several of one cluster with commas between.
	URL string `yaml:"url"`
	// CredentialsFile is a .creds file; or else there are User and Password.
	CredentialsFile string `yaml:"credentials_file"`
	User            string `yaml:"user"`
	Password        Secret `yaml:"password"`
	PasswordFile    string `yaml:"password_file"`
	// Listen is where the embedded server takes CMSs' connections.
	Listen   string `yaml:"listen"`
	Replicas int    `yaml:"replicas"`
}

// S3 says which object storage to use: the embedded one when URL is empty.
type S3 struct {
	URL           string `yaml:"url"` // scheme and host, no path
	Bucket        string `yaml:"bucket"`
	Region        string `yaml:"region"`
	AccessKey     string `yaml:"access_key"`
	SecretKey     Secret `yaml:"secret_key"`
	SecretKeyFile string `yaml:"secret_key_file"`
}

// Limits bound what the CMSs send.
type Limits struct {
	// ImageDeadline is how long an article waits for its pictures.
	ImageDeadline time.Duration `yaml:"image_deadline"`
	// ImageBytes bounds a picture's file, ImagePixels its width times its height, ImageSide each
	// of them.
	ImageBytes  Size  `yaml:"image_bytes"`
	ImagePixels Count `yaml:"image_pixels"`
	ImageSide   Count `yaml:"image_side"`
	// ImagePixelBytes bounds what one pixel takes in decoding, ImageMemory what one picture takes,
	// and DecodingMemory what all take that are decoded at the same time.
	ImagePixelBytes Size `yaml:"image_pixel_bytes"`
	ImageMemory     Size `yaml:"image_memory"`
	DecodingMemory  Size `yaml:"decoding_memory"`
	// ImageFrames bounds an animation.
	ImageFrames Count `yaml:"image_frames"`
	// ImageTime bounds the decoding of a picture.
	ImageTime time.Duration `yaml:"image_time"`
	// AttachmentBytes bounds the file of an attachment.
	AttachmentBytes Size `yaml:"attachment_bytes"`
	// EventsBytes bounds the inbox.
	EventsBytes Size `yaml:"events_bytes"`
}

// Media says from where pictures may be fetched, what is made of them, and how they are served.
type Media struct {
	// EraseAfter is how long a picture stays that no article uses any more.
	EraseAfter time.Duration `yaml:"erase_after"`
	// Redirect is what object keys follow in the addresses to which the gateway sends who asks for
	// pictures; empty: it serves them.
	Redirect string `yaml:"redirect"`
	// Allow lists private addresses of CMSs on an intranet.
	Allow []netip.Prefix `yaml:"allow"`
	// PerHost is how many requests to one host may be under way at once.
	PerHost int `yaml:"per_host"`
	// Credentials are for CMSs behind basic authentication.
	Credentials []Credential `yaml:"credentials"`
	// Buckets are those that s3://name/key may name.
	Buckets []Bucket `yaml:"buckets"`
	// Widths are those of the renditions, in pixels; Formats are of [FormatJPEG] and [FormatWebP];
	// Crops of "1:1" and "16:9".
	Widths  []int    `yaml:"widths"`
	Formats []string `yaml:"formats"`
	Crops   []string `yaml:"crops"`
	// VIPSThumbnail is the program that reads HEIC and AVIF; empty: they are refused.
	VIPSThumbnail string `yaml:"vipsthumbnail"`
}

// Formats of renditions.
const (
	FormatJPEG = "jpeg"
	FormatWebP = "webp"
)

// Credential is a user and password for one site's pictures.
type Credential struct {
	Site         string `yaml:"site"` // scheme and host, no path
	User         string `yaml:"user"`
	Password     Secret `yaml:"password"`
	PasswordFile string `yaml:"password_file"`
}

// Bucket is one that pictures may be taken from; on Loa's own server when URL is empty.
type Bucket struct {
	Name          string `yaml:"name"`
	URL           string `yaml:"url"`
	Region        string `yaml:"region"`
	AccessKey     string `yaml:"access_key"`
	SecretKey     Secret `yaml:"secret_key"`
	SecretKeyFile string `yaml:"secret_key_file"`
}

// Feeds says how feeds are made.
type Feeds struct {
	Page    int           `yaml:"page"`    // entries
	Content string        `yaml:"content"` // [ContentFull] or [ContentSummary]
	TTL     time.Duration `yaml:"ttl"`     // how long readers may keep a feed
	Hubs    []string      `yaml:"hubs"`    // WebSub hubs elsewhere
	// WithdrawnFor is how long a feed tells of a withdrawn article that it has shown, and
	// WithdrawnStubFor how long, of this time, by an entry among the others.
	WithdrawnFor     time.Duration `yaml:"withdrawn_for"`
	WithdrawnStubFor time.Duration `yaml:"withdrawn_stub_for"`
	// Language is that of the feeds as a whole; entries have their own.
	Language string `yaml:"language"`
	// Image is the address of a picture that stands for the feeds; empty: none.
	Image string `yaml:"image"`
	// Kinds are for the feeds of one kind, by its name.
	Kinds  map[string]FeedKind `yaml:"kinds"`
	Custom []CustomFeed        `yaml:"custom"`
}

// FeedShape is how much a feed shows; zero: as otherwise.
type FeedShape struct {
	Page    int    `yaml:"page"`
	Content string `yaml:"content"`
}

// FeedKind is how the feeds of one kind are made.
type FeedKind struct {
	Page    int    `yaml:"page"` // zero: as otherwise
	Content string `yaml:"content"`
	Off     bool   `yaml:"off"` // there are none
}

// CustomFeed is a feed of what a filter selects.
type CustomFeed struct {
	ID      string `yaml:"id"`
	Title   string `yaml:"title"`
	Filter  Filter `yaml:"filter"`
	Page    int    `yaml:"page"` // zero: as otherwise
	Content string `yaml:"content"`
}

// Hub is Loa's own WebSub hub.
type Hub struct {
	Enabled bool `yaml:"enabled"`
	// Lease is how long a subscription lasts that asks for nothing else; LeaseMin and LeaseMax are
	// the bounds of what is asked.
	Lease    time.Duration `yaml:"lease"`
	LeaseMin time.Duration `yaml:"lease_min"`
	LeaseMax time.Duration `yaml:"lease_max"`
	// Subscriptions bounds all of them, PerHost those of one host name, PerAddress those of one IP
	// address.
	Subscriptions Count `yaml:"subscriptions"`
	PerHost       int   `yaml:"per_host"`
	PerAddress    Count `yaml:"per_address"`
	// InFlight is how many deliveries to one host are under way at once, Rate how many begin in a
	// second, Timeout how long one may take.
	InFlight int           `yaml:"in_flight"`
	Rate     Rate          `yaml:"rate"`
	Timeout  time.Duration `yaml:"timeout"`
	// Allow lists private addresses that callbacks may have.
	Allow []netip.Prefix `yaml:"allow"`
	// SHA1For are hosts of callbacks that know no better signatures.
	SHA1For []string `yaml:"sha1_for"`
}

// Intake says who may send events over HTTP, and how many.
type Intake struct {
	// Rate is how many events a second one CMS may send.
	Rate Rate `yaml:"rate"`
	// CMSs are those that sign what they send; others have keys.
	CMSs []CMS `yaml:"cms"`
}

// CMS is one that signs what it sends over HTTP.
type CMS struct {
	Name       string   `yaml:"name"`
	Sites      []string `yaml:"sites"` // that it publishes
	Secret     Secret   `yaml:"secret"`
	SecretFile string   `yaml:"secret_file"`
	// Secrets are those that Secret or SecretFile holds, of which one has to match.
	Secrets []Secret `yaml:"-"`
	Rate    Rate     `yaml:"rate"`
}

// What strangers see of the API, beside [ContentFull] and [ContentSummary].
const PublicNone = "none"

// API says who may read the partner API, and how often.
type API struct {
	// Public is what is shown to who has no key: [PublicNone], [ContentSummary] or [ContentFull].
	Public string `yaml:"public"`
	// Rate is that of keys which have none of their own, PublicRate that of each stranger's address.
	Rate       Rate `yaml:"rate"`
	PublicRate Rate `yaml:"public_rate"`
	// Proxies are the addresses from which X-Forwarded-For is believed.
	Proxies []netip.Prefix `yaml:"proxies"`
}

// Site is a portal that publishes.
type Site struct {
	ID     string `yaml:"id"`
	Name   string `yaml:"name"`
	Parent string `yaml:"parent"` // a site's id; empty at the top
	URL    string `yaml:"url"`
	// Feeds is for all feeds of the site.
	Feeds FeedShape `yaml:"feeds"`
	// Successors are the sites that go on with what the site did, from the day Succeeded on.
	Successors []string `yaml:"successors"`
	Succeeded  string   `yaml:"succeeded"`
}

// day is the form of a date.
const day = "2006-01-02"

// begins is when a day does, in Vietnam; zero where there is none.
func begins(date string) time.Time {
	at, _ := time.ParseInLocation(day, date, time.FixedZone("", 7*60*60)) // it was checked
	return at
}

// Site is the site as part of a tree.
func (s Site) Site() site.Site {
	return site.Site{ID: s.ID, Name: s.Name, Parent: s.Parent, URL: s.URL, Successors: s.Successors, Succeeded: begins(s.Succeeded)}
}

// Portal is a downstream site that bulletins are pushed to.
type Portal struct {
	Name       string `yaml:"name"` // its id
	Title      string `yaml:"title"`
	URL        string `yaml:"url"`
	Secret     Secret `yaml:"secret"`
	SecretFile string `yaml:"secret_file"`
	// Secrets are those that Secret or SecretFile holds: one, or two while one replaces the
	// other. Bulletins are signed with each.
	Secrets []Secret `yaml:"-"`
	Filter  Filter   `yaml:"filter"`
	// Format is bulletin, ninjs or atom, and Content summary or full; defaults of the sender
	// when empty.
	Format  string `yaml:"format"`
	Content string `yaml:"content"`
	// Digest gathers bulletins for set times; none when At is empty.
	Digest Digest `yaml:"digest"`
	// ClientCertificate is shown to a portal that asks who calls. CAFile holds the certificates,
	// as PEM, by one of which the portal's own is signed.
	ClientCertificate ClientCertificate `yaml:"client_certificate"`
	CAFile            string            `yaml:"ca"`
	CA                string            `yaml:"-"` // what CAFile holds
	// InFlight is how many bulletins are under way at once, Rate how many begin in a second,
	// Timeout how long one may take; each a default of the sender when 0.
	InFlight int           `yaml:"in_flight"`
	Rate     Rate          `yaml:"rate"`
	Timeout  time.Duration `yaml:"timeout"`
	// Allow lists private addresses that the portal may have.
	Allow []netip.Prefix `yaml:"allow"`
	// Headers are sent with every bulletin. They may hold keys, so they are not shown.
	Headers map[string]Secret `yaml:"headers"`
	Paused  bool              `yaml:"paused"`
}

// Filter selects articles: those that meet each condition. An empty one asks for nothing.
type Filter struct {
	Sites      []string `yaml:"sites"` // these and what lies under them
	Categories []string `yaml:"categories"`
	Tags       []string `yaml:"tags"`
	// Urgency is the highest number, that is the least urgent, that is wanted; 0: any.
	Urgency   int       `yaml:"urgency"`
	Languages []string  `yaml:"languages"`
	Since     string    `yaml:"since"` // the first day of publication that is wanted
	Not       Exclusion `yaml:"not"`
}

// SinceTime is when the day Since begins; zero where there is none.
func (f Filter) SinceTime() time.Time { return begins(f.Since) }

// Exclusion leaves articles out that meet any of its conditions.
type Exclusion struct {
	Sites      []string `yaml:"sites"`
	Categories []string `yaml:"categories"`
	Tags       []string `yaml:"tags"`
	Languages  []string `yaml:"languages"`
}

// Digest says when a portal is told of all that changed since the last time.
type Digest struct {
	At      string `yaml:"at"` // a cron expression of six fields
	Zone    string `yaml:"zone"`
	Most    int    `yaml:"most"`
	Express bool   `yaml:"express"`
}

// ClientCertificate names two files of PEM.
type ClientCertificate struct {
	CertificateFile string `yaml:"certificate"`
	KeyFile         string `yaml:"key"`
	Certificate     string `yaml:"-"` // what the files hold
	Key             Secret `yaml:"-"`
}

// Default is the configuration without a file: it wants only sites. [Config.Check] fills in
// what depends on other settings.
func Default() *Config {
	return &Config{
		DataDir: "loa-data",
		Listen:  "127.0.0.1:8080",
		Grace:   20 * time.Second,
		Log:     Log{Level: "info", Format: FormatConsole},
		NATS:    NATS{Listen: "127.0.0.1:4222", Replicas: 1},
		S3:      S3{Bucket: "loa", Region: "us-east-1"},
		Limits: Limits{
			ImageDeadline: 20 * time.Second,
			ImageBytes:    30 << 20,
			ImagePixels:   50_000_000,
			ImageSide:     20_000,

			ImagePixelBytes: 24,
			ImageMemory:     256 << 20,
			DecodingMemory:  256 << 20,
			ImageFrames:     1000,
			ImageTime:       20 * time.Second,
			AttachmentBytes: 32 << 20,
			EventsBytes:     streams.DefaultEventsBytes,
		},
		Media:  Media{EraseAfter: 24 * time.Hour, PerHost: 6, Widths: []int{320, 640, 1280}, Formats: []string{FormatJPEG, FormatWebP}, VIPSThumbnail: "vipsthumbnail"},
		Intake: Intake{Rate: 50},
		Feeds:  Feeds{Page: 50, Content: ContentFull, TTL: 5 * time.Minute, Language: "vi", WithdrawnFor: 30 * 24 * time.Hour, WithdrawnStubFor: 7 * 24 * time.Hour},
		Hub: Hub{Enabled: true, Lease: 240 * time.Hour, LeaseMin: 5 * time.Minute, LeaseMax: 720 * time.Hour, Subscriptions: 100_000, PerHost: 500, PerAddress: 2000,
			InFlight: 8, Rate: 100, Timeout: 15 * time.Second},
		API: API{Public: ContentSummary, Rate: 20, PublicRate: 5},
	}
}
