package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/loa-syndication/loa/deploy"
	"github.com/loa-syndication/loa/internal/secret"
)

const (
	// maxFile bounds the file, in bytes: 10,000 portals have 2 MiB.
	maxFile = 4 << 20
	// maxSecretFile is in bytes: two webhook secrets have 200, a certificate with those that signed
	// it some thousands.
	maxSecretFile = 64 << 10
)

// Overlay is what flags and environment say in the place of the file; nil where they say
// nothing. The tags are kong's: a command embeds the struct, and a flag goes before its
// variable.
type Overlay struct {
	DataDir             *string        `name:"data" env:"LOA_DATA" placeholder:"DIR" help:"Directory of everything that is kept (loa-data)."`
	Listen              *string        `env:"LOA_LISTEN" placeholder:"ADDR" help:"Where the gateway listens (127.0.0.1:8080)."`
	PublicURL           *string        `name:"public-url" env:"LOA_PUBLIC_URL" placeholder:"URL" help:"How the world reaches the gateway."`
	MediaURL            *string        `name:"media-url" env:"LOA_MEDIA_URL" placeholder:"URL" help:"What comes before media/ in the addresses of pictures (the public URL)."`
	PortalKey           *Secret        `name:"portal-key" env:"LOA_PORTAL_KEY" hidden:"" help:"Key that seals the portals' secrets; by the environment alone."`
	PortalKeyFile       *string        `name:"portal-key-file" env:"LOA_PORTAL_KEY_FILE" placeholder:"FILE" help:"File that holds the key with which the portals' secrets are sealed (made in the data directory)."`
	Roles               []string       `env:"LOA_ROLES" placeholder:"ROLE" help:"Parts of Loa to run, with commas between: intake, feeds, bulletins, hub, gateway (all)."`
	Grace               *time.Duration `env:"LOA_GRACE" placeholder:"DURATION" help:"How long a shutdown may take (20s)."`
	LogLevel            *string        `env:"LOA_LOG_LEVEL" placeholder:"LEVEL" help:"trace, debug, info, warn or error (info)."`
	LogFormat           *string        `env:"LOA_LOG_FORMAT" placeholder:"FORMAT" help:"console or json (console)."`
	NATS                *string        `name:"nats" env:"LOA_NATS" placeholder:"URL" help:"NATS to use in the place of the embedded one."`
	NATSCredentialsFile *string        `name:"nats-credentials-file" env:"LOA_NATS_CREDENTIALS_FILE" placeholder:"FILE" help:"NATS credentials (.creds)."`
	NATSUser            *string        `name:"nats-user" env:"LOA_NATS_USER" placeholder:"NAME" help:"NATS user."`
	NATSPassword        *Secret        `name:"nats-password" env:"LOA_NATS_PASSWORD" hidden:"" help:"NATS password; by the environment alone."`
	NATSPasswordFile    *string        `name:"nats-password-file" env:"LOA_NATS_PASSWORD_FILE" placeholder:"FILE" help:"File that holds the NATS password."`
	NATSListen          *string        `name:"nats-listen" env:"LOA_NATS_LISTEN" placeholder:"ADDR" help:"Where the embedded NATS listens for CMSs (127.0.0.1:4222)."`
	NATSReplicas        *int           `name:"nats-replicas" env:"LOA_NATS_REPLICAS" placeholder:"N" help:"Replicas of every stream: 1, 3 or 5 (1)."`
	S3                  *string        `name:"s3" env:"LOA_S3" placeholder:"URL" help:"S3 server to use in the place of the embedded one."`
	S3Bucket            *string        `name:"s3-bucket" env:"LOA_S3_BUCKET" placeholder:"NAME" help:"Bucket (loa)."`
	S3Region            *string        `name:"s3-region" env:"LOA_S3_REGION" placeholder:"NAME" help:"Region (us-east-1)."`
	S3AccessKey         *string        `name:"s3-access-key" env:"LOA_S3_ACCESS_KEY" placeholder:"KEY" help:"Access key."`
	S3SecretKey         *Secret        `name:"s3-secret-key" env:"LOA_S3_SECRET_KEY" hidden:"" help:"Secret key; by the environment alone."`
	S3SecretKeyFile     *string        `name:"s3-secret-key-file" env:"LOA_S3_SECRET_KEY_FILE" placeholder:"FILE" help:"File that holds the secret key."`
}

// apply puts the overlay over c, and notes for messages where each value came from.
func (o Overlay) apply(c *Config, places map[string]Place) {
	over(&c.DataDir, o.DataDir, places, "data", "data")
	over(&c.Listen, o.Listen, places, "listen", "listen")
	over(&c.PublicURL, o.PublicURL, places, "public_url", "public-url")
	over(&c.MediaURL, o.MediaURL, places, "media_url", "media-url")
	if o.PortalKey != nil || o.PortalKeyFile != nil {
		c.PortalKey, c.PortalKeyFile = "", ""
	}
	over(&c.PortalKey, o.PortalKey, places, "portal_key", "portal-key")
	over(&c.PortalKeyFile, o.PortalKeyFile, places, "portal_key_file", "portal-key-file")
	if len(o.Roles) > 0 {
		over(&c.Roles, &o.Roles, places, "roles", "roles")
	}
	over(&c.Grace, o.Grace, places, "grace", "grace")
	over(&c.Log.Level, o.LogLevel, places, "log.level", "log-level")
	over(&c.Log.Format, o.LogFormat, places, "log.format", "log-format")
	over(&c.NATS.URL, o.NATS, places, "nats.url", "nats")
	over(&c.NATS.Listen, o.NATSListen, places, "nats.listen", "nats-listen")
	over(&c.NATS.Replicas, o.NATSReplicas, places, "nats.replicas", "nats-replicas")
	over(&c.S3.URL, o.S3, places, "s3.url", "s3")
	over(&c.S3.Bucket, o.S3Bucket, places, "s3.bucket", "s3-bucket")
	over(&c.S3.Region, o.S3Region, places, "s3.region", "s3-region")
	over(&c.S3.AccessKey, o.S3AccessKey, places, "s3.access_key", "s3-access-key")

	// One way of logging in takes the place of another.
	if o.NATSCredentialsFile != nil {
		c.NATS.User, c.NATS.Password, c.NATS.PasswordFile = "", "", ""
	}
	if o.NATSUser != nil || o.NATSPassword != nil || o.NATSPasswordFile != nil {
		c.NATS.CredentialsFile = ""
	}
	if o.NATSPassword != nil || o.NATSPasswordFile != nil {
		c.NATS.Password, c.NATS.PasswordFile = "", ""
	}
	over(&c.NATS.CredentialsFile, o.NATSCredentialsFile, places, "nats.credentials_file", "nats-credentials-file")
	over(&c.NATS.User, o.NATSUser, places, "nats.user", "nats-user")
	over(&c.NATS.Password, o.NATSPassword, places, "nats.password", "nats-password")
	over(&c.NATS.PasswordFile, o.NATSPasswordFile, places, "nats.password_file", "nats-password-file")
	if o.S3SecretKey != nil || o.S3SecretKeyFile != nil {
		c.S3.SecretKey, c.S3.SecretKeyFile = "", ""
	}
	over(&c.S3.SecretKey, o.S3SecretKey, places, "s3.secret_key", "s3-secret-key")
	over(&c.S3.SecretKeyFile, o.S3SecretKeyFile, places, "s3.secret_key_file", "s3-secret-key-file")
}

func over[T any](dst, value *T, places map[string]Place, path, flag string) {
	if value == nil {
		return
	}
	*dst = *value
	variable := "LOA_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
	places[path] = Place{Source: "--" + flag + " or " + variable}
}

// Load reads the file at path, or none if path is empty, puts the overlay over it, reads the
// files that hold secrets, and checks everything. Paths in the file are relative to the file.
// Everything that is wrong with the configuration comes in one *[Error].
func Load(path string, o Overlay) (*Config, []Warning, error) {
	c := Default()
	var data []byte
	if path != "" {
		var err error
		if data, err = readFile(path, maxFile); err != nil {
			return nil, nil, fmt.Errorf("read configuration: %w", err)
		}
	}
	d := decode(path, data, c)
	c.resolve(filepath.Dir(path), d.places)
	o.apply(c, d.places)

	k := newCheck(c, d.places, d.faults)
	k.readSecrets(o)
	k.run()
	if err := k.err(); err != nil {
		return nil, k.warnings, err
	}
	return c, k.warnings, nil
}

// LoadPortals reads a file of nothing but portals, which are those of a Loa with these sites.
// A portal without a secret is right here: one is made for it. Its faults are those of [Load].
func LoadPortals(path string, sites []Site) ([]Portal, []Warning, error) {
	c := Default()
	data, err := readFile(path, maxFile)
	if err != nil {
		return nil, nil, fmt.Errorf("read portals: %w", err)
	}
	d := decode(path, data, c)
	c.resolve(filepath.Dir(path), d.places)
	k := newCheck(c, d.places, d.faults)
	for key := range d.places {
		if key != "" && parent(key) == "" && key != "portals" && !strings.HasPrefix(key, "portals[") {
			k.fault(key, "expected nothing but portals in this file")
		}
	}
	c.Sites = sites
	k.secretsOptional = true
	k.readSecrets(Overlay{})
	k.portals()
	if err := k.err(); err != nil {
		return nil, k.warnings, err
	}
	return c.Portals, k.warnings, nil
}

// Example is a commented configuration with every key.
func Example() string { return deploy.ExampleConfig }

// readFile reads a whole file of at most limit bytes.
func readFile(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s: expected at most %s", name, Size(limit))
	}
	return bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), nil // a byte order mark
}

// resolve makes the paths in the file relative to dir, where the file is. The default of the
// data directory stays relative to where the program runs.
func (c *Config) resolve(dir string, places map[string]Place) {
	files := []*string{&c.NATS.CredentialsFile, &c.NATS.PasswordFile, &c.S3.SecretKeyFile, &c.PortalKeyFile}
	if _, set := places["data"]; set {
		files = append(files, &c.DataDir)
	}
	for i := range c.Media.Credentials {
		files = append(files, &c.Media.Credentials[i].PasswordFile)
	}
	for i := range c.Media.Buckets {
		files = append(files, &c.Media.Buckets[i].SecretKeyFile)
	}
	for i := range c.Intake.CMSs {
		files = append(files, &c.Intake.CMSs[i].SecretFile)
	}
	for i := range c.Portals {
		p := &c.Portals[i]
		files = append(files, &p.SecretFile, &p.ClientCertificate.CertificateFile, &p.ClientCertificate.KeyFile, &p.CAFile)
	}
	for _, f := range files {
		if *f != "" && !filepath.IsAbs(*f) {
			*f = filepath.Join(dir, *f)
		}
	}
}

// readSecrets fills in the secrets that are in files of their own, and warns of those that are
// not well kept. A secret from the environment is.
func (k *check) readSecrets(o Overlay) {
	c := k.c
	k.secret("nats.password", &c.NATS.Password, c.NATS.PasswordFile, o.NATSPassword != nil)
	k.secret("s3.secret_key", &c.S3.SecretKey, c.S3.SecretKeyFile, o.S3SecretKey != nil)
	k.secret("portal_key", &c.PortalKey, c.PortalKeyFile, o.PortalKey != nil)
	if c.PortalKey != "" {
		if _, err := secret.ParseKeyring(c.PortalKey); err != nil {
			k.fault("portal_key", err.Error()) // which does not tell the key
		}
	}
	for i := range c.Media.Credentials {
		m := &c.Media.Credentials[i]
		k.secret(fmt.Sprintf("media.credentials[%d].password", i), &m.Password, m.PasswordFile, false)
	}
	for i := range c.Media.Buckets {
		b := &c.Media.Buckets[i]
		k.secret(fmt.Sprintf("media.buckets[%d].secret_key", i), &b.SecretKey, b.SecretKeyFile, false)
	}
	for i := range c.Intake.CMSs {
		m := &c.Intake.CMSs[i]
		k.secret(fmt.Sprintf("intake.cms[%d].secret", i), &m.Secret, m.SecretFile, false)
		m.Secrets = separate(m.Secret)
	}
	for i := range c.Portals {
		p := &c.Portals[i]
		k.secret(fmt.Sprintf("portals[%d].secret", i), &p.Secret, p.SecretFile, false)
		p.Secrets = separate(p.Secret)
		path := fmt.Sprintf("portals[%d].", i)
		cert := &p.ClientCertificate
		cert.Certificate = k.file(path+"client_certificate.certificate", cert.CertificateFile, readPublic)
		cert.Key = Secret(k.file(path+"client_certificate.key", cert.KeyFile, k.privateFile))
		p.CA = k.file(path+"ca", p.CAFile, readPublic)
	}
	if f := c.NATS.CredentialsFile; f != "" {
		if _, err := k.privateFile("nats.credentials_file", f); err != nil {
			k.fault("nats.credentials_file", err.Error())
		}
	}
}

// separate takes a text apart that holds several secrets, as while one replaces the other.
func separate(text Secret) (all []Secret) {
	for _, word := range strings.Fields(text.Reveal()) {
		all = append(all, Secret(word))
	}
	return all
}

func (k *check) secret(path string, secret *Secret, file string, fromEnvironment bool) {
	filePath := path + "_file"
	switch {
	case file == "" && *secret != "" && !fromEnvironment:
		k.warn(path, "a secret in the configuration itself is seen by all who may read it: "+
			"put it into a file of its own, and name that in "+filePath[strings.LastIndex(filePath, ".")+1:])
	case file != "" && *secret != "":
		k.fault(path, "expected either the secret or the file that holds it, not both")
	case file != "":
		data, err := k.privateFile(filePath, file)
		if err != nil {
			k.fault(filePath, err.Error())
			return
		}
		if *secret = Secret(strings.TrimSpace(string(data))); *secret == "" {
			k.fault(filePath, "the file is empty, expected a secret in it")
		}
	}
}

// file gives what a file holds that a setting names; "" if it names none.
func (k *check) file(path, name string, read func(path, name string) ([]byte, error)) string {
	if name == "" {
		return ""
	}
	data, err := read(path, name)
	if err != nil {
		k.fault(path, err.Error())
	}
	return string(data)
}

// readPublic reads a file that everybody may read.
func readPublic(_, name string) ([]byte, error) {
	data, err := readFile(name, maxSecretFile)
	var cause *fs.PathError
	if errors.As(err, &cause) {
		return nil, fmt.Errorf("cannot read the file %s: %w", quote(name), cause.Err)
	}
	return data, err
}

// privateFile reads a file that only its owner and group should be able to read.
func (k *check) privateFile(path, name string) ([]byte, error) {
	data, err := readPublic(path, name)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(name); err == nil && info.Mode().Perm()&0o007 != 0 {
		k.warn(path, fmt.Sprintf("everybody on this machine may read %s: chmod 600 it", quote(name)))
	}
	return data, nil
}

// byPlace orders faults as a person goes through the file; those outside of it come last.
func byPlace(a, b Fault) int {
	outside := func(f Fault) int {
		if f.Place.Line == 0 {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(outside(a), outside(b)), cmp.Compare(a.Place.Line, b.Place.Line),
		cmp.Compare(a.Place.Column, b.Place.Column), strings.Compare(a.Path, b.Path))
}

// err is nil when there are no faults.
func (k *check) err() error {
	slices.SortStableFunc(k.warnings, byPlace)
	if len(k.faults) == 0 {
		return nil
	}
	slices.SortStableFunc(k.faults, byPlace)
	return &Error{Faults: k.faults}
}
