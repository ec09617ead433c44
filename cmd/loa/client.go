package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/internal/config"
	"github.com/loa-syndication/loa/internal/embedded"
	"github.com/loa-syndication/loa/internal/streams"
)

// client is how commands name the Loa they talk to.
type client struct {
	Config              string  `short:"c" type:"existingfile" env:"LOA_CONFIG" placeholder:"FILE" help:"Configuration of the Loa to talk to."`
	Data                *string `env:"LOA_DATA" placeholder:"DIR" help:"Data directory of a Loa on this machine (loa-data)."`
	NATS                *string `name:"nats" env:"LOA_NATS" placeholder:"URL" help:"NATS of the Loa to talk to."`
	NATSUser            *string `name:"nats-user" env:"LOA_NATS_USER" placeholder:"NAME" help:"NATS user."`
	NATSPasswordFile    *string `name:"nats-password-file" env:"LOA_NATS_PASSWORD_FILE" placeholder:"FILE" help:"File that holds the NATS password."`
	NATSCredentialsFile *string `name:"nats-credentials-file" env:"LOA_NATS_CREDENTIALS_FILE" placeholder:"FILE" help:"NATS credentials (.creds)."`

	PortalKey     *config.Secret `name:"portal-key" env:"LOA_PORTAL_KEY" hidden:"" help:"Key of the portals' secrets; by the environment alone."`
	PortalKeyFile *string        `name:"portal-key-file" env:"LOA_PORTAL_KEY_FILE" placeholder:"FILE" help:"File with the key of the portals' secrets (in the data directory)."`
}

// session is an open connection to a Loa.
type session struct {
	cfg  *config.Config
	js   jetstream.JetStream
	log  *streams.Log
	dead *streams.Dead
}

// connectTimeout bounds how long a command tries to reach NATS.
const connectTimeout = 5 * time.Second

// connect opens a session: with the NATS that is named, or with the embedded one of a Loa that
// runs on the data directory.
func (c *client) connect(ctx context.Context) (*session, error) {
	cfg, err := c.config()
	if err != nil {
		return nil, err
	}
	opts := []nats.Option{nats.Name("loa command line"), nats.Timeout(connectTimeout)}
	if cfg.NATS.URL == "" {
		running, err := readAddresses(cfg.DataDir)
		if err != nil {
			return nil, err
		}
		users, err := embedded.ReadCredentials(natsDir(cfg))
		if err != nil {
			return nil, err
		}
		cfg.NATS.URL = running.NATS
		opts = append(opts, users.Loa.Options()...)
	}
	nc, err := connectNATS(cfg, opts...)
	if err != nil {
		return nil, fmt.Errorf("%w; is Loa running?", err)
	}
	s := &session{cfg: cfg}
	if s.js, err = jetstream.New(nc, jetstream.WithDefaultTimeout(apiTimeout)); err == nil {
		if s.log, err = streams.OpenLog(ctx, s.js); err == nil {
			s.dead, err = streams.OpenDead(ctx, s.js)
		}
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	return s, nil
}

func (s *session) close() { s.js.Conn().Close() }

// config is the configuration that the flags name; else that of a Loa which runs on the data
// directory; else nothing but the flags.
func (c *client) config() (*config.Config, error) {
	path := c.Config
	dir := config.Default().DataDir
	if c.Data != nil {
		dir = *c.Data
	}
	if path == "" && c.NATS == nil {
		running, err := readAddresses(dir)
		if err != nil {
			return nil, err
		}
		path = running.Config
	}
	if path == "" {
		return c.bare(dir)
	}
	over := config.Overlay{DataDir: c.Data, NATS: c.NATS, NATSUser: c.NATSUser, NATSPasswordFile: c.NATSPasswordFile,
		NATSCredentialsFile: c.NATSCredentialsFile, PortalKey: c.PortalKey, PortalKeyFile: c.PortalKeyFile}
	if c.Config == "" {
		over.DataDir = &dir // the file's own may be relative to where Loa was started
	}
	cfg, _, err := config.Load(path, over)
	return cfg, err
}

// bare is a configuration of nothing but where NATS is.
func (c *client) bare(dir string) (*config.Config, error) {
	cfg := config.Default()
	cfg.DataDir = dir
	for _, f := range []struct{ from, to *string }{{c.NATS, &cfg.NATS.URL}, {c.NATSUser, &cfg.NATS.User}, {c.NATSCredentialsFile, &cfg.NATS.CredentialsFile}} {
		if f.from != nil {
			*f.to = *f.from
		}
	}
	if c.PortalKey != nil {
		cfg.PortalKey = *c.PortalKey
	}
	if c.PortalKeyFile != nil {
		key, err := os.ReadFile(*c.PortalKeyFile)
		if err != nil {
			return nil, fmt.Errorf("read the key of the portals' secrets: %w", err)
		}
		cfg.PortalKey = config.Secret(key)
	}
	if c.NATSPasswordFile != nil {
		password, err := os.ReadFile(*c.NATSPasswordFile)
		if err != nil {
			return nil, fmt.Errorf("read the NATS password: %w", err)
		}
		cfg.NATS.Password = config.Secret(strings.TrimSpace(string(password)))
	}
	return cfg, nil
}
