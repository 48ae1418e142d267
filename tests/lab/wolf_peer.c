/* A wolfSSL peer for the lab, for suites that no other library in Debian has:
 * wolf_peer server|client ADDRESS PORT 1.2|1.3 CIPHER CERT KEY NAME WORD. The server sends the word back once. */
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void need(int good, const char *what)
{
    if (!good) {
        fprintf(stderr, "wolf_peer: %s failed\n", what);
        exit(1);
    }
}

int main(int count, char **word)
{
    need(count == 10, "reading the arguments");
    int serves = strcmp(word[1], "server") == 0, new = strcmp(word[4], "1.3") == 0, one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(word[3]))};
    need(inet_pton(AF_INET, word[2], &address.sin_addr) == 1, "reading the address");
    int wire = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(wire, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);

    wolfSSL_Init();
    WOLFSSL_METHOD *method = serves ? (new ? wolfTLSv1_3_server_method() : wolfTLSv1_2_server_method())
                                    : (new ? wolfTLSv1_3_client_method() : wolfTLSv1_2_client_method());
    WOLFSSL_CTX *context = wolfSSL_CTX_new(method);
    need(context != NULL, "making a context");
    wolfSSL_CTX_set_verify(context, WOLFSSL_VERIFY_NONE, NULL);
    need(wolfSSL_CTX_set_cipher_list(context, word[5]) == WOLFSSL_SUCCESS, "choosing the suite");
    if (serves) {
        need(wolfSSL_CTX_use_certificate_file(context, word[6], WOLFSSL_FILETYPE_PEM) == WOLFSSL_SUCCESS, "the certificate");
        need(wolfSSL_CTX_use_PrivateKey_file(context, word[7], WOLFSSL_FILETYPE_PEM) == WOLFSSL_SUCCESS, "the key");
        need(bind(wire, (struct sockaddr *)&address, sizeof address) == 0 && listen(wire, 1) == 0, "listening");
        wire = accept(wire, NULL, NULL);
    } else {
        need(wolfSSL_CTX_UseSNI(context, WOLFSSL_SNI_HOST_NAME, word[8], (unsigned short)strlen(word[8])) == WOLFSSL_SUCCESS, "the name");
        need(connect(wire, (struct sockaddr *)&address, sizeof address) == 0, "connecting");
    }
    WOLFSSL *tls = wolfSSL_new(context);
    wolfSSL_set_fd(tls, wire);
    need((serves ? wolfSSL_accept(tls) : wolfSSL_connect(tls)) == WOLFSSL_SUCCESS, "the handshake");
    char buffer[256] = {0};
    if (serves) {
        int size = wolfSSL_read(tls, buffer, sizeof buffer);
        need(size > 0 && wolfSSL_write(tls, buffer, size) == size, "the echo");
        wolfSSL_read(tls, buffer, sizeof buffer);
    } else {
        int size = (int)strlen(word[9]);
        need(wolfSSL_write(tls, word[9], size) == size, "writing");
        need(wolfSSL_read(tls, buffer, sizeof buffer) == size && memcmp(buffer, word[9], (size_t)size) == 0, "reading");
        printf("%s %s\n", wolfSSL_get_version(tls), wolfSSL_get_cipher_name(tls));
    }
    wolfSSL_shutdown(tls);
    close(wire);
    return 0;
}
