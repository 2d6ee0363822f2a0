package rescue

import "maps"

// faultWords say what a phase of the boot failed on, and what to do about it, by the
// names of package boot.
var faultWords = map[string][2]string{
	"boot.detail": {"Détail : %s", "Detail: %s"},

	"fault.state-damaged":         {"Le système de fichiers de la partition d'état est abîmé et n'a pas pu être réparé.", "The file system of the state partition is damaged and could not be repaired."},
	"do.fault.state-damaged":      {"L'autre nœud continue seul. Écrivez l'image sur un disque neuf ici ; puis à la console de l'autre : F1, « Remplacer l'autre nœud ».", "The other node goes on alone. Write the image to a new disk here; then at the other one's console: F1, “Replace the other node”."},
	"fault.disk-too-small":        {"Le disque est plus petit que l'image qui y a été écrite : il en manque la fin.", "The disk is smaller than the image that was written to it: its end is missing."},
	"do.fault.disk-too-small":     {"Rien n'a été modifié. Prenez un disque plus grand et écrivez-y l'image.", "Nothing was changed. Take a larger disk and write the image to it."},
	"fault.disk-without-table":    {"Le disque n'a plus de table de partitions lisible, ni au début ni à la fin.", "The disk has no readable partition table any more, neither at its start nor at its end."},
	"do.fault.disk-without-table": {"L'autre nœud continue seul. Écrivez l'image sur un disque neuf ici ; puis à la console de l'autre : F1, « Remplacer l'autre nœud ».", "The other node goes on alone. Write the image to a new disk here; then at the other one's console: F1, “Replace the other node”."},
	"fault.disk-twice":            {"Deux disques de cette machine portent l'image : lequel est le bon ne se devine pas.", "Two disks of this machine hold the image: which one is right cannot be guessed."},
	"do.fault.disk-twice":         {"Débranchez celui qui ne doit pas servir, puis redémarrez (menu).", "Unplug the one that is not to be used, then reboot (menu)."},
	"fault.disk-missing":          {"Aucun disque de cette machine ne porte les partitions de l'image.", "No disk of this machine has the partitions of the image."},
	"do.fault.disk-missing":       {"Vérifiez que le disque est branché et que son contrôleur est reconnu (étape Pilotes), puis redémarrez (menu).", "Check that the disk is plugged in and its controller known (phase Drivers), then reboot (menu)."},
	"fault.seed-key":              {"La graine ne contient pas la clé du nœud qu'elle nomme.", "The seed does not hold the key of the node that it names."},
	"do.fault.seed-key":           {"Elle est refusée et reste en place. Refaites-la, ou écrivez l'image à nouveau.", "It is refused and stays where it is. Make it again, or write the image anew."},
	"fault.seed-newer":            {"La graine a été faite pour une version plus récente.", "The seed was made for a newer release."},
	"do.fault.seed-newer":         {"Elle est refusée et reste en place. Écrivez l'image de cette version-là.", "It is refused and stays where it is. Write the image of that release."},
	"fault.seed-damaged":          {"La graine est abîmée, ou contient un réglage inconnu.", "The seed is damaged, or holds a setting that is not known."},
	"do.fault.seed-damaged":       {"Elle est refusée et reste en place. Refaites-la, ou écrivez l'image à nouveau.", "It is refused and stays where it is. Make it again, or write the image anew."},
	"fault.watchdog-missing":      {"Cette machine n'a pas de chien de garde matériel, ou son pilote manque.", "This machine has no hardware watchdog, or its driver is missing."},
	"do.fault.watchdog-missing":   {"Le nœud sert quand même, mais une panne de son noyau ne le redémarrera pas. Activez-le dans le micrologiciel (BIOS).", "The node serves all the same, but a hang of its kernel will not restart it. Enable it in the firmware (BIOS)."},
	"fault.watchdog-software":     {"Pas de chien de garde matériel : celui du noyau, logiciel, le remplace. Il relance une machine dont les programmes se figent, pas une machine dont le noyau ou le processeur se fige.", "No hardware watchdog: the kernel's own, in software, stands in. It restarts a machine whose programs hang, not one whose kernel or processor hangs."},
	"do.fault.watchdog-software":  {"Le nœud sert quand même. Activez le chien de garde dans le micrologiciel (BIOS ou contrôleur BMC).", "The node serves all the same. Enable the watchdog in the firmware (BIOS or BMC)."},
	"fault.driver-missing":        {"Il manque un pilote dans l'image.", "A driver is missing in the image."},
	"do.fault.driver-missing":     {"Le nœud continue sans lui. Signalez ce message au prestataire.", "The node goes on without it. Report this message to your supplier."},
	"fault.no-port":               {"Un réseau de ce nœud n'a pas sa carte.", "A network of this node lacks its card."},
	"do.fault.no-port":            {"Vérifiez que la carte est en place et reconnue (étape Pilotes), puis redémarrez (menu).", "Check that the card is in place and known (phase Drivers), then reboot (menu)."},
}

func init() { maps.Copy(words, faultWords) }
