package main

import (
	"fmt"
	"io"
	stdlog "log"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/internal/config"
)

type serveCmd struct {
	Config string `short:"c" type:"existingfile" env:"LOA_CONFIG" placeholder:"FILE" help:"Configuration; loa config example prints one to start from."`
	config.Overlay
}

// Help is shown by loa serve --help.
func (*serveCmd) Help() string {
	return `Without --nats and --s3, Loa runs its own NATS and S3 servers, and keeps everything
under the data directory. SIGTERM or Ctrl-C ends it in order: what is under way is
finished or handed back within the grace period; a second one ends it at once.`
}

func (c *serveCmd) Run(e *env) error {
	began := time.Now()
	cfg, warnings, err := config.Load(c.Config, c.Overlay)
	if err != nil {
		return err
	}
	log := logger(cfg.Log, e.stderr)
	stdlog.SetFlags(0)
	stdlog.SetOutput(libraries{log})
	for _, w := range warnings {
		log.Warn().Msg(w.String())
	}
	a, err := newApp(e.ctx, cfg, log)
	if err != nil && e.ctx.Err() != nil {
		log.Info().Err(err).Msg("stopped before it was ready")
		return nil
	}
	if err != nil {
		return err
	}
	defer a.close()
	where, err := a.announce(c.Config)
	if err != nil {
		return err
	}
	log.Info().Str("version", version()).Strs("roles", cfg.Roles).Str("nats", where.NATS).Str("gateway", where.Gateway).
		Int("sites", len(cfg.Sites)).Int("portals", len(a.portals.All())).Dur("took", time.Since(began)).Msg("ready")
	err = a.run(e.ctx)
	log.Info().Err(err).Msg("stopped")
	return err
}

// announce writes down where this process can be reached.
func (a *app) announce(configFile string) (addresses, error) {
	where := addresses{NATS: a.backbone.natsURL, S3: a.backbone.s3URL}
	if a.gateway != nil {
		where.Gateway = a.cfg.PublicURL
	}
	if configFile != "" {
		abs, err := filepath.Abs(configFile)
		if err != nil {
			return where, fmt.Errorf("configuration file: %w", err)
		}
		where.Config = abs
	}
	return where, where.write(a.cfg.DataDir)
}

// logger writes as the configuration says.
func logger(cfg config.Log, w io.Writer) zerolog.Logger {
	if cfg.Format == config.FormatConsole {
		_, noColour := os.LookupEnv("NO_COLOR")
		w = zerolog.ConsoleWriter{Out: w, TimeFormat: time.TimeOnly, NoColor: noColour || !isTerminal(w)}
	}
	level, err := zerolog.ParseLevel(strings.ToLower(cfg.Level))
	if err != nil {
		level = zerolog.InfoLevel // the configuration was checked
	}
	return zerolog.New(w).Level(level).With().Timestamp().Logger()
}

// libraries makes events of the lines that libraries print by themselves. What portals send makes
// net/http print some: that must not fill the log, nor break its form.
type libraries struct{ log zerolog.Logger }

func (l libraries) Write(line []byte) (int, error) {
	l.log.Debug().Str("line", strings.TrimSpace(string(line))).Msg("said by a library")
	return len(line), nil
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
