package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"beffroi.dev/pkg/guest/qmp"
	"beffroi.dev/tools/serial"
)

// lookBound is how long it may take to look into a virtual machine: an emulated one
// checks a password for seconds.
const lookBound = time.Minute

// logFolder is where the logs of a node's services lie in it.
const logFolder = "/state/node/logs"

// readLog prints the log of a service of a virtual machine, the way a person gets it: at
// the serial line, in the rescue shell. Whoever else uses the line is disturbed.
func readLog(ctx context.Context, lab Lab, m Machine, service string, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, lookBound)
	defer cancel()
	password, err := os.ReadFile(lab.Password)
	if err != nil {
		return fmt.Errorf("password of the rescue shell: %w", err)
	}
	line, err := serial.Dial(ctx, m.Serial)
	if err != nil {
		return fmt.Errorf("serial line of %s: %w", m.Name, err)
	}
	defer line.Close()
	sh, err := line.Shell(ctx, strings.TrimSpace(string(password)))
	if err != nil {
		return fmt.Errorf("rescue shell of %s: %w", m.Name, err)
	}
	command := "ls " + logFolder
	if service != "" {
		command = "cat " + path.Join(logFolder, filepath.Base(service)+".log")
	}
	text, code, err := sh.Run(ctx, command)
	if err != nil {
		return err
	}
	if err := sh.Leave(ctx); err != nil {
		return err
	}
	switch {
	case code != 0:
		return fmt.Errorf("node %s: %s", m.Name, text)
	case service == "":
		return fmt.Errorf("the log of which service of %s? There are: %s", m.Name, strings.ReplaceAll(strings.Join(strings.Fields(text), ", "), ".log", ""))
	}
	_, err = fmt.Fprintln(out, text)
	return err
}

// screen keeps what a virtual machine shows on its screen as a picture.
func screen(ctx context.Context, lab Lab, words []string) error {
	if len(words) != 2 {
		return errors.New("screen of which node, to which file? lab screen a a.png")
	}
	m, err := lab.machine(words[0])
	if err != nil {
		return err
	}
	if m.Mode != "vm" {
		return fmt.Errorf("%s is not a virtual machine: it has no screen", m.Name)
	}
	file, err := filepath.Abs(words[1])
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, lookBound)
	defer cancel()
	monitor, err := qmp.Open(ctx, m.QMP, qmp.Config{}, slog.New(slog.DiscardHandler))
	if err != nil {
		return fmt.Errorf("monitor of %s: %w", m.Name, err)
	}
	defer monitor.Close()
	if _, err := monitor.Command(ctx, "screendump", map[string]string{"filename": file, "format": "png"}); err != nil {
		return fmt.Errorf("screen of %s: %w", m.Name, err)
	}
	return nil
}
