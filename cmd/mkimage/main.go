// Command mkimage builds the image of an appliance from Debian packages and our
// programs, without root, and renews the lock of these packages.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"beffroi.dev/image/build"
	"beffroi.dev/image/packages"
)

const usage = `mkimage build   make the image, by the lock
mkimage lock    resolve the packages anew and write the lock

Flags of each: mkimage build -h
BEFFROI_DEBIAN_MIRROR is the base URL of the Debian mirror to use.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); errors.Is(err, flag.ErrHelp) {
		os.Exit(2)
	} else if err != nil {
		fmt.Fprintln(os.Stderr, "mkimage:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usage)
		return flag.ErrHelp
	}
	fs := flag.NewFlagSet(args[0], flag.ContinueOnError)
	mirror := fs.String("mirror", os.Getenv("BEFFROI_DEBIAN_MIRROR"), "base URL of the Debian mirror")
	lock := fs.String("lock", "image/packages/lock.json", "the lock of the packages")
	switch args[0] {
	case "lock":
		keyring := fs.String("keyring", packages.Keyring, "Debian's public keys")
		if err := fs.Parse(args[1:]); err != nil {
			return flag.ErrHelp
		}
		return renew(ctx, packages.Archive{Base: packages.Mirror(*mirror, "/etc/apt"), Keyring: *keyring}, *lock)
	case "build":
		c := build.Config{Lock: *lock}
		fs.StringVar(&c.Version, "version", "0.1.0", "version of the image")
		fs.StringVar(&c.Source, "source", ".", "folder with our source")
		fs.StringVar(&c.Out, "out", "out/image", "folder for the image")
		fs.StringVar(&c.Cache, "cache", "out/cache", "folder for what may be kept between builds")
		fs.StringVar(&c.Key, "key", "", "PEM file of the RSA key that signs; with -cert (default: a development key)")
		fs.StringVar(&c.Cert, "cert", "", "PEM file of its certificate")
		if err := fs.Parse(args[1:]); err != nil {
			return flag.ErrHelp
		}
		c.Lock, c.Mirror = *lock, packages.Mirror(*mirror, "/etc/apt")
		return build.Run(ctx, c, os.Stdout)
	}
	fmt.Fprint(os.Stderr, usage)
	return flag.ErrHelp
}

func renew(ctx context.Context, a packages.Archive, file string) error {
	l, err := a.Resolve(ctx, packages.Suite, packages.Components, packages.Image)
	if err != nil {
		return err
	}
	var size int64
	for _, p := range l.Packages {
		size += p.Size
	}
	if err := l.Save(file); err != nil {
		return err
	}
	fmt.Printf("%s: %d packages of Debian %s, %d MB\n", file, len(l.Packages), l.Release, size>>20)
	return nil
}
