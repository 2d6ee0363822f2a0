package nstest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// inside marks the process that runs the tests as root of a user namespace.
const inside = "BEFFROI_NSTEST_INSIDE"

// Main runs a package's tests where they may make hosts: as they are for root, and for
// anybody else once more in a user namespace, as its root ("unshare -Urn" does the
// same). It does not return.
func Main(m *testing.M) {
	if os.Geteuid() == 0 || os.Getenv(inside) != "" || canMake() != nil {
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = newUser()
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL // go test kills us when the time is over
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(os.Stderr, "tests in a user namespace:", err)
		os.Exit(1)
	}
	os.Exit(cmd.ProcessState.ExitCode())
}

func newUser() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	}
}

// canMake says why no user namespace can be made here.
func canMake() error {
	cmd := exec.Command("/proc/self/exe", "-test.run=^$")
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = newUser()
	return cmd.Run()
}

// Users skips a test that acts as several users: a user namespace that anybody may make
// has one.
func Users(t testing.TB) {
	t.Helper()
	if os.Getenv(inside) != "" {
		t.Skip("it acts as several users, and this user namespace has one: run the tests as root")
	}
}

// missing ends a test that cannot have a host: it is skipped, or fails where everything
// has to be there.
func missing(t testing.TB, why error) {
	t.Helper()
	const how = "allow user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, " +
		"kernel.apparmor_restrict_unprivileged_userns) or run the tests as root"
	if os.Getenv("BEFFROI_REQUIRE_TOOLS") != "" {
		t.Fatalf("no network namespace can be made here: %v; %s", why, how)
	}
	t.Skipf("no network namespace can be made here: %v; %s", why, how)
}
