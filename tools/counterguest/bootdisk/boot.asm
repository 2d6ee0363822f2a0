# A boot sector that loads what its table says and enters a kernel by Linux' boot
# protocol. The builder fills the table and prepares the kernel's header, so that
# nothing is decided here.
	.code16
	.globl	_start

	.set	BUFFER, 0x10000		# one read, below 1 MiB, where the BIOS can put it
	.set	CHUNK, 64		# sectors of one read

_start:
	ljmp	$0, $begin
begin:	xorw	%ax, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movw	$_start, %sp
	sti
	cld
	movb	%dl, drive
	movw	$table, %bp

piece:	movl	4(%bp), %eax		# sectors left
	testl	%eax, %eax
	jz	next
	cmpl	$CHUNK, %eax
	jbe	1f
	movl	$CHUNK, %eax
1:	movw	%ax, packet+2
	movl	0(%bp), %ebx
	movl	%ebx, packet+8
	pushl	%eax
	movb	$0x42, %ah
	movb	drive, %dl
	movw	$packet, %si
	int	$0x13
	popl	%eax
	jc	piece			# for ever: there is nobody to tell
	addl	%eax, 0(%bp)
	subl	%eax, 4(%bp)
	movl	%eax, %ecx
	shll	$7, %ecx		# double words
	movl	$BUFFER, %esi
	movl	8(%bp), %edi
	call	unreal
	addr32 rep movsl
	movl	%edi, 8(%bp)
	jmp	piece
next:	addw	$12, %bp
	cmpw	$table+48, %bp
	jb	piece

	cli
	movw	$0x9000, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %fs
	movw	%ax, %gs
	movw	%ax, %ss
	movw	$0xe000, %sp
	ljmp	$0x9020, $0

# unreal gives ds and es a limit of 4 GiB. The BIOS takes it away at every call.
unreal:	cli
	lgdt	pointer
	movl	%cr0, %eax
	orb	$1, %al
	movl	%eax, %cr0
	movw	$8, %bx
	movw	%bx, %ds
	movw	%bx, %es
	andb	$0xfe, %al
	movl	%eax, %cr0
	xorw	%bx, %bx
	movw	%bx, %ds
	movw	%bx, %es
	sti
	ret

	.balign	8
gdt:	.quad	0
	.quad	0x00cf92000000ffff	# data, base 0, limit 4 GiB
pointer:
	.word	15
	.long	gdt
packet:	.byte	16, 0
	.word	0
	.word	BUFFER & 15, BUFFER >> 4
	.quad	0
drive:	.byte	0

	.org	0x180			# four of: first sector, sectors, address
table:	.fill	48, 1, 0
	.org	446
	.byte	0x80, 0, 9, 0, 0xda, 0, 0, 0
	.long	8, 0
	.org	510
	.word	0xaa55
