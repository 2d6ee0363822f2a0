package rescue

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"beffroi.dev/appliance/config"
	"beffroi.dev/appliance/operator"
)

// Config of RunService.
type Config struct {
	Dir       config.Dir
	TTY       string // a terminal's path; empty: the one that it was started from
	TableFile string // the table of the boot; empty: run/boot.json of Dir
	PIDFile   string // init's process number: SIGUSR1 reboots, SIGTERM powers off; empty: the menu has neither
	Reaper    int    // who is asked when there is no init: SIGUSR1 reboots, SIGUSR2 powers off; 0: nobody
	Shell     string // program of the rescue shell; empty: the menu has none
	Operator  string // socket of init (appliance/operator); empty: there is none
	Version   string // of this release, where the table does not say it
	Lang      Lang
	ASCII     bool // the terminal has no UTF-8
}

// PasswordFile is the name in the state folder of the hash of the rescue shell's
// password (api.HashPassword). Without it there is no shell.
const PasswordFile = "rescue-password"

// isScreen tells whether a terminal is one of the kernel's own.
func isScreen(tty string) bool {
	n, ok := strings.CutPrefix(filepath.Base(tty), "tty")
	_, err := strconv.ParseUint(n, 10, 8)
	return ok && err == nil
}

// RunService shows the console of a node on one terminal until ctx ends. A terminal
// that is not there yet, or hangs up, is opened again; only the one that it was
// started from must be there.
func RunService(ctx context.Context, c Config, log *slog.Logger) error {
	log = log.With("room", "rescue")
	tty := newTerminal(c.TTY)
	if c.TTY == "" {
		if _, err := tty.open(); err != nil {
			return fmt.Errorf("open the terminal: %w", err)
		}
	}
	password := filepath.Join(string(c.Dir), PasswordFile)
	source := &System{Dir: c.Dir, BootFile: c.TableFile, Version: c.Version, Password: password}
	if c.PIDFile != "" {
		source.Gone = func() bool { return gone(signal(c.PIDFile, 0)) }
	}
	actions := &nodeActions{Dir: c.Dir, PIDFile: c.PIDFile, Reaper: c.Reaper, Shell: c.Shell, Password: password}
	if c.Operator != "" {
		source.Operator, actions.Operator = operator.NewClient(c.Operator), operator.NewClient(c.Operator)
	}
	err := Run(ctx, tty, source, actions, Options{
		Lang: c.Lang, ASCII: c.ASCII, Screen: isScreen(c.TTY), Zone: time.Local, Leave: c.TTY == "", Log: log,
		Can: Can{Power: c.PIDFile != "", Shell: c.Shell != ""},
	})
	if ended := tty.Close(); ended != nil {
		log.Debug("give the terminal back", "cause", ended)
	}
	return err
}
