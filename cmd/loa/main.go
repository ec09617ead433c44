// Command loa syndicates the content of public portals: it keeps images, feeds and downstream
// portals in step with what a CMS publishes on NATS.
//
// This package holds the commands and nothing else: each file is one of them, app.go wires the
// workers together for `loa serve`, client.go connects the other commands to what runs.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

type commands struct {
	Serve    serveCmd    `cmd:"" help:"Run Loa: everything, or some of its roles."`
	Demo     demoCmd     `cmd:"" help:"See it work: a sample city publishes, and you look at what comes out."`
	Publish  publishCmd  `cmd:"" help:"Publish an article: an event as JSON, or Markdown or HTML with front matter."`
	Withdraw withdrawCmd `cmd:"" help:"Withdraw an article."`
	Import   struct {
		Feed      importFeedCmd      `cmd:"" help:"From an RSS, Atom or JSON feed, once or again and again."`
		WordPress importWordPressCmd `cmd:"" name:"wordpress" help:"From a WordPress site."`
		Folder    importFolderCmd    `cmd:"" help:"From a folder of Markdown and HTML files."`
	} `cmd:"" help:"Bring articles in from where they are."`
	Article struct {
		Show articleShowCmd `cmd:"" help:"Show an article as the log has it."`
	} `cmd:"" help:"Look at articles."`
	Media struct {
		Rebuild mediaRebuildCmd `cmd:"" help:"Render pictures anew after their settings were changed."`
		GC      mediaGCCmd      `cmd:"" name:"gc" help:"Find stored pictures that no article uses, and delete them."`
	} `cmd:"" help:"The stored pictures."`
	Reach   reachCmd   `cmd:"" help:"Show which portals have an article as it is now, and why others have not."`
	Resync  resyncCmd  `cmd:"" help:"Compare the log with all portals and feeds, and raise what is missing."`
	Rebuild rebuildCmd `cmd:"" help:"Restore the log from the articles in the object store."`
	Portals struct {
		Ls      portalsLsCmd      `cmd:"" help:"List the portals, with their state and what waits for them."`
		Show    portalsShowCmd    `cmd:"" help:"Show one portal's configuration and state."`
		Add     portalsAddCmd     `cmd:"" help:"Add a portal, or change one."`
		Apply   portalsApplyCmd   `cmd:"" help:"Make the portals be as a file says, after a look at what would change."`
		Pause   portalsPauseCmd   `cmd:"" help:"Hold a portal's bulletins back. None is lost."`
		Resume  portalsResumeCmd  `cmd:"" help:"Let a paused portal catch up."`
		Replay  portalsReplayCmd  `cmd:"" help:"Send a portal again what it acknowledged since a time."`
		Test    portalsTestCmd    `cmd:"" help:"Send a portal a signed ping, and tell what it answers."`
		Verify  portalsVerifyCmd  `cmd:"" help:"Compare what a portal holds with what it is to hold, and send again what differs."`
		Stats   portalsStatsCmd   `cmd:"" help:"Show what was delivered and what failed, and how quickly portals answer."`
		Rotate  portalsRotateCmd  `cmd:"" help:"Give a portal a new secret; the old one signs as well for a while."`
		Rm      portalsRmCmd      `cmd:"" help:"Remove a portal for good."`
		History portalsHistoryCmd `cmd:"" help:"Show who changed which portal, when, and what."`
	} `cmd:"" help:"The portals that bulletins are pushed to."`
	Keys struct {
		Add    keysAddCmd    `cmd:"" help:"Make a key, which is shown once."`
		Ls     keysLsCmd     `cmd:"" help:"List the keys, with what they allow and when they were used last."`
		Show   keysShowCmd   `cmd:"" help:"Show one key, but not its secret, which nobody knows."`
		Revoke keysRevokeCmd `cmd:"" help:"End a key, at once and for good."`
	} `cmd:"" help:"The keys of partners who read the API, and of CMSs that publish over HTTP."`
	Hub struct {
		Ls   hubLsCmd   `cmd:"" help:"List the subscriptions, with their state and their lease."`
		Drop hubDropCmd `cmd:"" help:"End subscriptions, and tell their callbacks."`
	} `cmd:"" help:"The subscribers of Loa's own WebSub hub."`
	Deliveries struct {
		Tail deliveriesTailCmd `cmd:"" help:"Show the latest deliveries, and follow those to come."`
	} `cmd:"" help:"What came of each attempt to deliver."`
	Dead struct {
		Ls    deadLsCmd    `cmd:"" help:"List the dead letters."`
		Show  deadShowCmd  `cmd:"" help:"Show one, with all that is known of it."`
		Retry deadRetryCmd `cmd:"" help:"Try some again, as if they came for the first time."`
		Drop  deadDropCmd  `cmd:"" help:"Remove some for good."`
	} `cmd:"" help:"Work set aside for a person."`
	Receive receiveCmd `cmd:"" help:"Run a sample portal that receives, verifies and shows bulletins."`
	Config  struct {
		Check   configCheckCmd   `cmd:"" help:"Check a configuration file."`
		Example configExampleCmd `cmd:"" help:"Print a commented configuration to start from."`
	} `cmd:"" help:"The configuration file."`
	Bench struct {
		Push     benchPushCmd     `cmd:"" help:"Pushes to 601 portals, beside a bare loop of signed POSTs."`
		Hub      benchHubCmd      `cmd:"" help:"A feed to 10,000 subscribers, beside a bare loop of signed POSTs."`
		Feeds    benchFeedsCmd    `cmd:"" help:"Changes into feeds, with a small log and a large one."`
		Intake   benchIntakeCmd   `cmd:"" help:"Events into the log, beside bare writes of the same bytes."`
		Media    benchMediaCmd    `cmd:"" help:"Pictures into object storage, beside vipsthumbnail."`
		Serve    benchServeCmd    `cmd:"" help:"Feeds to readers over HTTP, beside a bare handler that writes the same bytes."`
		Origin   benchOriginCmd   `cmd:"" hidden:""`
		Sink     benchSinkCmd     `cmd:"" hidden:""`
		Render   benchRenderCmd   `cmd:"" hidden:""`
		Pictures benchPicturesCmd `cmd:"" hidden:""`
	} `cmd:"" help:"Measure this machine, beside floors measured in the same run."`
	Version versionCmd `cmd:"" help:"Print the version."`
}

// env is what a command may use of the world: tests give it buffers.
type env struct {
	ctx    context.Context
	stdout io.Writer
	stderr io.Writer
}

func (e *env) printf(format string, args ...any) { fmt.Fprintf(e.stdout, format, args...) }

const (
	exitFault = 1 // the command could not do what it was asked
	exitUsage = 2 // it was asked wrongly
	exitLater = 3 // it is done as far as it can be now: what is left depends on others
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	keepMemory(ctx)
	os.Exit(run(&env{ctx, os.Stdout, os.Stderr}, os.Args[1:]))
}

// run runs one command line and gives the exit status.
func run(e *env, args []string) int {
	exited := -1
	parser, err := kong.New(&commands{},
		kong.Name("loa"),
		kong.Description("Loa keeps images, feeds and portals in step with what a CMS publishes.\n\nTo see it work: loa demo. To run it: loa config example > loa.yaml, then loa serve --config loa.yaml."),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}),
		kong.Writers(e.stdout, e.stderr),
		kong.Exit(func(code int) { exited = code }),
	)
	if err != nil {
		fmt.Fprintln(e.stderr, "loa:", err)
		return exitFault
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	command, err := parser.Parse(args)
	if exited >= 0 { // help was asked for, and given
		return exited
	}
	if err != nil {
		fmt.Fprintf(e.stderr, "loa: %v\nTry: loa --help\n", err)
		return exitUsage
	}
	if err := command.Run(e); err != nil {
		if errors.Is(err, errLater) {
			return exitLater
		}
		if !errors.Is(err, errSaid) {
			fmt.Fprintln(e.stderr, "loa:", err)
		}
		return exitFault
	}
	return 0
}

// errSaid ends a command with a fault whose text has been printed already.
var errSaid = errors.New("reported")

// errLater ends a command with [exitLater], what is left having been printed already.
var errLater = errors.New("left for later")
